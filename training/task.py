"""task.json: what inference needs and peft's files do not hold."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.errors import StateError


@dataclass(frozen=True)
class TaskRecord:
    """Written beside an adapter or a model, read by `infer.py`."""

    label_names: list[str]  # in the order of the rows of `score`
    max_length: int  # longer texts are cut to that many tokens
    text_rule: dict[str, Any]  # data.TextRule's fields
    base: dict[str, str]  # name, and the fingerprint of its tensors
    seed: int  # draws the untrained head that "before" means
    dataset: dict[str, Any]  # data.Source's fields and the fingerprint of its rows
    split: dict[str, Any]  # the arguments of data.split_rows

    def save(self, directory: Path) -> None:
        (directory / "task.json").write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, directory: Path) -> "TaskRecord | None":
        """The record in `directory`, None where there is none (peft made it); raises StateError if it is broken."""
        path = directory / "task.json"
        if not path.exists():
            return None
        try:
            record = cls(**json.loads(path.read_text(encoding="utf-8")))
            names, length = record.label_names, record.max_length
            whole = all(isinstance(name, str) for name in names) and len(names) > 1 and int(length) > 0
            if not whole or not {"name", "fingerprint"} <= set(record.base):
                raise ValueError("a field has a wrong value")
        except (OSError, ValueError, TypeError) as error:
            raise StateError(f"{path}: cannot be used ({error}); take it from the run again") from error
        return record

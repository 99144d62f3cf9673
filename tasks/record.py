"""task.json: what inference needs and peft's files do not hold."""

import dataclasses
import json
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import data
from training.errors import StateError

KINDS = ("classification", "language")


@dataclass(frozen=True)
class TaskRecord:
    """Written beside an adapter or a model, read by `infer.py` and `generate.py`."""

    label_names: list[str]  # in the order of the rows of `score`; a writer has none
    max_length: int  # longer texts are cut to that many tokens
    text_rule: dict[str, Any]  # data.TextRule's fields
    base: dict[str, str]  # name, and the fingerprint of its tensors
    seed: int  # draws the untrained head that "before" means
    dataset: dict[str, Any]  # data.Source's fields and the fingerprint of its rows
    split: dict[str, Any]  # how the rows were divided
    task: str = field(default="classification")

    def save(self, directory: Path) -> None:
        (directory / "task.json").write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, directory: Path) -> "TaskRecord | None":
        """The record in `directory`, None where there is none (peft made it); raises StateError if it is broken."""
        path = directory / "task.json"
        if not path.exists():
            return None
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(values, dict):
                raise ValueError("it holds no JSON object")
            record = cls(**values)
            record._check()
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise StateError(f"{path}: cannot be used ({error}); take it from the run again") from error
        return record

    def _check(self) -> None:
        """Raises ValueError, naming the field, for a value of another type or one that makes no sense."""
        for name, kind in typing.get_type_hints(type(self)).items():
            value, outer = getattr(self, name), typing.get_origin(kind) or kind
            if not isinstance(value, outer) or (outer is int and isinstance(value, bool)):
                raise ValueError(f"{name} is {value!r}, not of type {outer.__name__}")
        for name, texts in (("label_names", self.label_names), ("base", self.base.values())):
            if not all(isinstance(text, str) for text in texts):
                raise ValueError(f"{name} holds something that is no text")
        if self.task not in KINDS:
            raise ValueError(f"task is {self.task!r}, not one of {', '.join(KINDS)}")
        if self.task == "classification" and len(self.label_names) < 2:
            raise ValueError("label_names must hold at least two names")
        if self.max_length < 1:
            raise ValueError(f"max_length is {self.max_length}, not above 0")
        if not 0 <= self.seed < 2**63:  # what torch takes
            raise ValueError(f"seed is {self.seed}, not at least 0 and below 2**63")
        if not {"name", "fingerprint"} <= set(self.base):
            raise ValueError("base must have a name and a fingerprint")
        rule = typing.get_type_hints(data.TextRule)
        if not all(isinstance(value, rule.get(name, ())) for name, value in self.text_rule.items()):
            raise ValueError(f"text_rule is {self.text_rule!r}; it has {', '.join(rule)}")

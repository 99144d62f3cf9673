"""task.json: what inference needs and peft's files do not hold."""

import dataclasses
import json
import os
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import data
from gpt2.files import LARGEST_TEXT, read_json
from training.errors import StateError

KINDS = ("classification", "language")
_DIVISION = {"kind": str, "test_size": int | float, "val_size": int | float, "seed": int}  # what split_rows needs


@dataclass(frozen=True)
class TaskRecord:
    """Written beside an adapter or a model, read by `infer.py` and `generate.py`."""

    label_names: list[str]  # in the order of the rows of `score`; a writer has none
    max_length: int  # longer texts are cut to that many tokens
    text_rule: dict[str, Any]  # data.TextRule's fields
    base: dict[str, str]  # its name and fingerprint
    seed: int  # draws the untrained head that "before" means
    dataset: dict[str, Any]  # data.Source's fields and the fingerprint of its rows
    split: dict[str, Any]  # how the rows were divided
    task: str = field(default="classification")

    def __post_init__(self) -> None:
        """Before training, not after it: what `load` would refuse must not be all that is left of a run."""
        if len(self._as_json()) > LARGEST_TEXT:
            raise StateError(f"task.json: would be larger than {LARGEST_TEXT:,} bytes; shorten the names of the labels")

    def save(self, directory: Path) -> None:
        (directory / "task.json").write_text(self._as_json(), encoding="utf-8")

    def _as_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def load(cls, directory: Path) -> "TaskRecord | None":
        """The record in `directory`, None where there is none (peft made it); raises StateError if it is broken."""
        path = directory / "task.json"
        if not os.path.lexists(path):  # a dangling link is a broken record, not none
            return None
        try:
            record = cls(**read_json(path))
            record._check()
        except (OSError, ValueError, TypeError) as error:
            told = str(error)[:300]
            raise StateError(f"{path}: cannot be used ({told}); take it from the run again") from error
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
        if self.task == "classification" and len(set(self.label_names)) < max(2, len(self.label_names)):
            raise ValueError("label_names must hold at least two names, and none twice")
        if self.max_length < 1:
            raise ValueError(f"max_length is {self.max_length}, not above 0")
        if not 0 <= self.seed < 2**63:  # what torch takes
            raise ValueError(f"seed is {self.seed}, not at least 0 and below 2**63")
        if not {"name", "fingerprint"} <= set(self.base):
            raise ValueError("base must have a name and a fingerprint")
        _check_fields("text_rule", self.text_rule, typing.get_type_hints(data.TextRule))
        rows = typing.get_type_hints(data.Source) | {"fingerprint": str, "only_label": str | None}
        _check_fields("dataset", self.dataset, rows)
        _check_fields("split", self.split, _DIVISION | {"max_train_rows": int | None})
        if self.split.get("seed", 0) < 0:
            raise ValueError(f"split has the seed {self.split['seed']}, not at least 0")
        if (self.split.get("max_train_rows") or 1) < 1:
            raise ValueError(f"split has max_train_rows {self.split['max_train_rows']}, not at least 1")

    def source(self) -> data.Source:
        """Where the rows came from; raises StateError for a record that does not say so."""
        fields = {field.name for field in dataclasses.fields(data.Source)}
        if not {"name", "fingerprint"} <= set(self.dataset) or not set(_DIVISION) <= set(self.split):
            raise StateError("task.json: does not say which rows it was made with, or how they were divided")
        return data.Source(**{name: value for name, value in self.dataset.items() if name in fields})


def _check_fields(name: str, values: dict[str, Any], kinds: dict[str, Any]) -> None:
    for key, value in values.items():
        kind = kinds.get(key)
        exact = type(value) is not bool or bool in (kind, *typing.get_args(kind))  # True is a whole number in Python
        if kind is None or not _fits(value, kind) or not exact:
            raise ValueError(f"{name} has {key!a}: {value!r}; it has {', '.join(kinds)}")


def _fits(value: Any, kind: Any) -> bool:
    """isinstance that knows `str | list[str] | None`, too."""
    if isinstance(value, list):
        return all(isinstance(item, str) for item in value) and list[str] in typing.get_args(kind)
    return isinstance(value, tuple(each for each in typing.get_args(kind) or (kind,) if each != list[str]))

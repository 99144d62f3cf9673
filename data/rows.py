"""What a row is, where rows come from, and which values can be a text or a label."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

LEAVES_OUT = "--on_bad_row skip leaves such rows out"
Tell = Callable[[str], None]  # takes a line for the user, on how a file was read


class DataError(ValueError):
    """Data that cannot be used as it is; the message names the file and line and what to do."""

    exit_code = 3


def untold(line: str) -> None:
    """A Tell for those who read the same rows again."""


@dataclass(frozen=True, slots=True)
class Row:
    text: str
    label: str | None  # None where no labels were asked for
    where: str  # "messages.csv:12"
    fault: str = ""  # of a row to be skipped: "null text", "null label"


@dataclass(frozen=True)
class Source:
    """Where rows come from. Columns that are not named are found by their usual names."""

    name: str
    text_column: str | list[str] | None = None  # several are joined by a newline
    label_column: str | None = None
    encoding: str = "utf-8"
    labelled: bool = True
    encoding_errors: str = "strict"  # or "replace"
    header: bool | None = None  # None: found by its names; False: columns have numbers, from 1
    delimiter: str | None = None  # None: by the file's ending and its header
    quotechar: str | None = None
    on_bad_row: str = "error"  # or "skip": null values come as rows with a fault
    config: str | None = None  # of a hub dataset
    split: str = "train"
    validation_dataset: str | None = None  # whose rows choose and report instead of a share of these; of the hub,
    test_dataset: str | None = None  # its splits of that name
    learned_column: str | None = None  # tried before the usual names of a text, where no text_column is given
    known_labels: list[str] | None = None  # of a file that only tests: a few rows with them tell the label's column


def blank_line(where: str) -> DataError:
    return DataError(f"{where}: blank line; remove it; {LEAVES_OUT}")


def make_row(text: Any, label: Any, where: str, text_column: str, label_column: str | None, skip: bool = False) -> Row:
    """A row from typed values; raises DataError where they are no text and no label.

    With `skip`, a null is a row with a fault, and NaN is a null. Whole numbers that are written as floats are whole
    numbers.
    """
    text, label = _value(text), _value(label)
    if skip and (text is None or (label_column is not None and label is None)):
        known = text if isinstance(text, str) else ""
        return Row(known, None, where, "null text" if text is None else "null label")
    if not isinstance(text, str):
        hint = f"; {LEAVES_OUT}" * (text is None)
        raise DataError(f"{where}: '{text_column}' is {_kind(text)}, not a text{_parts(text_column, text)}{hint}")
    if label_column is None:
        return Row(text, None, where)
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    if not isinstance(label, str | int):
        hint = f"; {LEAVES_OUT}" * (label is None)
        told = f"{where}: '{label_column}' is {_kind(label)}, not a label (a text or a whole number)"
        raise DataError(told + _parts(label_column, label) + hint)
    return Row(text, str(label), where)


def record_row(record: dict[str, Any], texts: list[str], label: str | None, where: str, skip: bool) -> Row:
    """`make_row` from a record, of one text or several: of these a null one is empty, as a table's cell is, unless all
    are."""
    value = None if label is None else record.get(label)
    if len(texts) == 1:
        return make_row(record.get(texts[0]), value, where, texts[0], label, skip)
    values = [_value(record.get(text)) for text in texts]
    if any(each is not None for each in values):
        values = ["" if each is None else each for each in values]
    rows = [make_row(each, value, where, text, label, skip) for text, each in zip(texts, values)]
    fault = next((row.fault for row in rows if row.fault), "")
    return Row("\n".join(row.text for row in rows), rows[0].label, where, fault)


def place_of(where: str) -> dict[str, str | int]:
    """Row.where taken apart: a file and its line, from 1, or a table without lines and its row, from 0."""
    for name, mark in (("line", ":"), ("row", " row ")):
        file, _, number = where.rpartition(mark)
        if file and number.isdecimal():
            return {"file": file, name: int(number)}
    return {"file": where}


def _value(value: Any) -> Any:
    """None for the NaN that some tables have in its place."""
    return None if isinstance(value, float) and value != value else value


def _parts(column: str, value: Any) -> str:
    """What lies within, by its path, where a value is no single one."""
    if isinstance(value, dict):
        paths = [f"{column}.{key}" for key in value]
    elif isinstance(value, list):
        paths = [f"{column}[{at}]" for at in range(len(value))]
    else:
        return ""
    some = ", ".join(paths[:3])[:200] + ", ..." * (len(paths) > 3)
    return f"; it holds {some or 'nothing'}: write the one that is meant as a field of its own"


def _kind(value: Any) -> str:
    return "missing or null" if value is None else f"a {type(value).__name__}"

"""Rows out of files and hub datasets, one at a time, with the place each came from.

Every row is accounted for: what cannot be read stops the run with the file, the line and what to do. A TSV line is
split at its first tab and quotes are data, so the SMS Spam Collection gives its 5,574 rows; a CSV reader would
swallow two of them between unbalanced quotes. Only where a header and all quotes are a table's are they read as such.
"""

import csv
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from data.quotes import quotes_are_a_tables

JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
FILE_SUFFIXES = (".tsv", ".csv", *JSON_SUFFIXES, ".txt")
TEXT_NAMES = ("text", "sms", "message", "sentence", "content")
LABEL_NAMES = ("label", "labels", "category", "class", "target")


class DataError(ValueError):
    """Data that cannot be used as it is; the message names the file and line and what to do."""

    exit_code = 3


@dataclass(frozen=True)
class Row:
    text: str
    label: str | None  # None where no labels were asked for
    where: str  # "messages.csv:12"


@dataclass(frozen=True)
class Source:
    """Where rows come from. Columns that are not named are found by their usual names."""

    name: str
    text_column: str | None = None
    label_column: str | None = None
    encoding: str = "utf-8"
    labelled: bool = True


def read_rows(source: Source) -> Iterator[Row]:
    """The rows of a file, by its suffix: .csv, .jsonl, .txt (one text a line, no labels), anything else as TSV.

    A TSV has a header line if it names the columns, else it is `label<TAB>text`. Raises DataError.
    """
    path = Path(source.name)
    if not path.is_file():
        what = "is a directory, not a file" if path.is_dir() else "no such file (a hub dataset is written OWNER/NAME)"
        raise DataError(f"{path}: {what}")
    suffix = path.suffix.lower()
    if suffix == ".csv":
        return _read_quoted(path, source, ",")
    if suffix in JSON_SUFFIXES:
        return _read_jsonl(path, source)
    if suffix == ".txt" and not source.labelled:
        return (Row(line, None, where) for where, line in read_lines(path, source.encoding))
    return _read_tsv(path, source)


def read_lines(path: Path, encoding: str, *, returns: bool = False) -> Iterator[tuple[str, str]]:
    """(`file:line`, text) for each line of a file; see `split_lines`."""
    try:
        with open(path, "rb") as file:
            yield from split_lines(file, str(path), encoding, returns=returns)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def split_lines(
    file: Iterable[bytes], name: str, encoding: str = "utf-8", *, returns: bool = False
) -> Iterator[tuple[str, str]]:
    """(`name:line`, text) for each line. Only a newline ends a line: U+2028 and its like are part of the text.

    A carriage return before it goes, too. With `returns` it stays in a file whose first line ends without one: between
    quotes it is part of a text there.
    """
    _check_encoding(encoding)
    pending: list[tuple[str, str]] = []  # blank lines, kept back: at the end of a file they mean nothing
    for number, raw in enumerate(file, 1):
        where = f"{name}:{number}"
        if number == 1:
            _check_first_line(raw, where)
            end = "" if returns and not raw.endswith(b"\r\n") else "\r"
        line = _decode(raw, encoding, where).removeprefix("\ufeff" if number == 1 else "")
        pending.append((where, line.removesuffix("\n").removesuffix(end)))
        if line.strip():
            yield from pending
            pending = []


def _check_encoding(encoding: str) -> None:
    """Files are split at newlines before they are decoded: a newline must be the one byte it is in ASCII."""
    try:
        usable = b"\n".decode(encoding) == "\n"
    except LookupError:
        raise DataError(f"--encoding {encoding}: Python knows no such encoding") from None
    except ValueError:  # UTF-16 and UTF-32 need more bytes; "undefined" decodes nothing at all
        usable = False
    if not usable:
        raise DataError(f"--encoding {encoding}: files in it cannot be read line by line; convert the file to UTF-8")


def _check_first_line(raw: bytes, where: str) -> None:
    """What the first bytes give away about a file that would only fail later, with a misleading message."""
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in raw[:2]:
        raise DataError(f"{where}: the file is UTF-16; convert it to UTF-8 first")
    if raw.startswith((b"PK\x03\x04", b"PAR1", b"\x1f\x8b")):  # also .xlsx and .ods, which are zip files
        raise DataError(f"{where}: a zip, gzip or parquet file, not text; save it as .csv, .tsv or .jsonl first")
    if b"\r" in raw.removesuffix(b"\n").removesuffix(b"\r"):
        raise DataError(f"{where}: a carriage return inside the line; do lines end in it? Convert them to newlines")


def _decode(raw: bytes, encoding: str, where: str) -> str:
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        at = f"byte {error.start + 1} is not {encoding}"
    except ValueError:
        at = f"not {encoding}"
    raise DataError(f"{where}: {at}; convert the file or try --encoding latin-1")


def _read_tsv(path: Path, source: Source) -> Iterator[Row]:
    lines = read_lines(path, source.encoding)
    first = next(lines, None)
    if first is None:
        return
    columns = first[1].split("\t")
    bare = [column.strip('"') for column in columns]
    named = source.text_column or source.label_column or _has_usual_names(columns, source)
    if not named and not _has_usual_names(bare, source):
        yield from _read_headless_tsv(chain([first], lines), source)
        return
    if quotes_are_a_tables(line for _, line in read_lines(path, source.encoding)):
        yield from _read_quoted(path, source, "\t")
        return
    if not named:
        raise DataError(f"{first[0]}: only some columns in quotes; write the line without, or all with them")
    text_at, label_at = _choose_columns(columns, source, first[0])
    # A text in the last column may hold tabs of its own.
    splits = len(columns) - 1 if text_at == len(columns) - 1 else -1
    for where, line in lines:
        values = line.split("\t", splits)
        if len(values) != len(columns):
            raise DataError(f"{where}: {len(values)} columns, the header names {len(columns)}")
        yield Row(values[text_at], None if label_at is None else values[label_at], where)


def _read_headless_tsv(lines: Iterable[tuple[str, str]], source: Source) -> Iterator[Row]:
    """`label<TAB>text`. A header with names of its own is noticed at the end: its "label" occurs nowhere else."""
    counts: Counter[str] = Counter()
    for where, line in lines:
        label, tab, text = line.partition("\t")
        if not tab:
            plain = "; plain text is read from a .txt file" * (not source.labelled)
            raise DataError(f"{where}: no tab; a line is label<TAB>text, or the file starts with a header line{plain}")
        if not counts:
            first = label, where
        counts[label] += 1
        yield Row(text, label if source.labelled else None, where)
    label, where = first
    if source.labelled and counts.pop(label) == 1 and len(counts) > 1 and min(counts.values()) > 1:
        raise DataError(
            f"{where}: no other row has the label '{label}'; if this is the header, name its columns with "
            "--text_column and --label_column, else remove the row"
        )


def _read_quoted(path: Path, source: Source, delimiter: str) -> Iterator[Row]:
    # A field as large as the file is legitimate: csv's own limit of 131,072 characters is not this project's.
    csv.field_size_limit(sys.maxsize)
    lines = (line + "\n" for _, line in read_lines(path, source.encoding, returns=True))
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    start = 1
    try:
        columns = next(reader, None)
        if columns is None:
            return
        if not any(map(str.strip, columns)):
            raise DataError(f"{path}:1: blank, where the names of the columns should be; remove the line")
        separator = next((s for s in ";\t" if s in columns[0]), None)
        if len(columns) == 1 and separator:
            raise DataError(f"{path}:1: columns separated by {separator!r}; a .csv has commas, a .tsv tabs")
        text_at, label_at = _choose_columns(columns, source, f"{path}:1")
        start = reader.line_num + 1
        for values in reader:
            where = f"{path}:{start}"
            if not values:
                raise DataError(f"{where}: blank line; remove it")
            if len(values) != len(columns):
                raise DataError(f"{where}: {len(values)} columns, the header names {len(columns)}; is a quote missing?")
            yield Row(values[text_at], None if label_at is None else values[label_at], where)
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}:{start}: broken table ({error}); is a quote not closed?") from None


def _read_jsonl(path: Path, source: Source) -> Iterator[Row]:
    columns: tuple[str, str | None] | None = None
    for where, record in read_objects(path, source.encoding):
        if columns is None:
            names = list(record)
            text_at, label_at = _choose_columns(names, source, where)
            columns = names[text_at], None if label_at is None else names[label_at]
        text, label = record.get(columns[0]), record.get(columns[1]) if columns[1] else None
        yield make_row(text, label, where, columns[0], columns[1])


def read_objects(path: Path, encoding: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(`file:line`, object) for each line of a JSONL file."""
    for where, line in read_lines(path, encoding):
        try:
            record = json.loads(line, object_pairs_hook=partial(_without_repeated_keys, where=where))
        except DataError:
            raise
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where}: not JSON ({error}); a JSONL file has one object per line") from None
        if not isinstance(record, dict):
            raise DataError(f"{where}: a JSONL file has one object per line, not a {type(record).__name__}")
        yield where, record


def _without_repeated_keys(pairs: list[tuple[str, Any]], where: str) -> dict[str, Any]:
    """JSON's own answer would be to keep the last value and say nothing."""
    record: dict[str, Any] = {}
    for key, value in pairs:
        if key in record:
            raise DataError(f"{where}: the key '{key}' stands twice in one object; remove one")
        record[key] = value
    return record


def make_row(text: Any, label: Any, where: str, text_column: str, label_column: str | None) -> Row:
    """A row from typed values; raises DataError where they are no text and no label."""
    if not isinstance(text, str):
        raise DataError(f"{where}: '{text_column}' is {_kind(text)}, not a text")
    if label_column is not None and (not isinstance(label, str | int) or isinstance(label, float)):
        raise DataError(f"{where}: '{label_column}' is {_kind(label)}, not a label (a text or a whole number)")
    return Row(text, None if label_column is None else str(label), where)


def _choose_columns(columns: list[str], source: Source, where: str) -> tuple[int, int | None]:
    """The positions of the text and, if asked for, the label."""
    text = _choose(columns, source.text_column, TEXT_NAMES, "--text_column", where)
    if not source.labelled:
        return text, None
    label = _choose(columns, source.label_column, LABEL_NAMES, "--label_column", where)
    if label == text:
        raise DataError(f"{where}: '{columns[text]}' is both text and label; choose with --text_column, --label_column")
    return text, label


def _choose(columns: list[str], wanted: str | None, usual: tuple[str, ...], flag: str, where: str) -> int:
    there = ", ".join(column for column in columns if column)  # a spreadsheet's empty columns have no names
    if wanted is not None and wanted not in columns:
        raise DataError(f"{where}: no column '{wanted}'; there are {there} (choose with {flag})")
    found = _find(columns, usual) if wanted is None else columns.index(wanted)
    if found is None:
        raise DataError(f"{where}: which column? There are {there}; choose with {flag}")
    if columns.count(columns[found]) > 1:
        raise DataError(f"{where}: two columns have the same name ({columns[found]})")
    return found


def _has_usual_names(columns: list[str], source: Source) -> bool:
    return _find(columns, TEXT_NAMES) is not None and (not source.labelled or _find(columns, LABEL_NAMES) is not None)


def _find(columns: list[str], usual: tuple[str, ...]) -> int | None:
    lower = [column.strip().lower() for column in columns]
    return next((lower.index(name) for name in usual if name in lower), None)


def _kind(value: Any) -> str:
    return "missing or null" if value is None else f"a {type(value).__name__}"

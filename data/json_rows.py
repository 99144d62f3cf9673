"""Records out of JSON: one object a line (JSONL), or all of them in one array."""

import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

from data.columns import LOOKED_AT, choose_columns
from data.encodings import read_lines
from data.rows import DataError, Row, Source, Tell, blank_line, record_row, untold

_BLANKS, _GAP = re.compile(r"\s*"), re.compile(r"\s*,?\s*")


def read_objects(path: Path, source: Source, tell: Tell = untold) -> Iterator[tuple[str, dict[str, Any]]]:
    """(`file:line`, object) for each record of a file."""
    begun, blank = False, []  # places of blank lines; before an array they mean nothing
    for where, line in read_lines(path, source, tell=tell):
        if not line.strip():
            blank.append(where)
            continue
        if not begun and line.lstrip().startswith("["):
            yield from _read_array(path, source, tell)
            return
        if blank and source.on_bad_row != "skip":
            raise blank_line(blank[0])
        yield from ((place, {}) for place in blank)  # reported as a null text
        begun, blank = True, []
        parse = partial(json.loads, line, object_pairs_hook=partial(_without_repeated_keys, where=where))
        record = _parsed(parse, where, "a JSONL file has one object per line")
        if not isinstance(record, dict):
            raise DataError(f"{where}: a JSONL file has one object per line, not a {type(record).__name__}")
        yield where, record


def records_to_rows(records: Iterator[tuple[str, dict[str, Any]]], source: Source) -> Iterator[Row]:
    """Rows of records whose first names the columns, or the first ones together, where it has not all."""
    head = list(islice(records, 1))
    if not head:
        return
    where, columns = head[0][0], list(head[0][1])
    try:
        texts_at, label_at = choose_columns(columns, source, where)
    except DataError:
        head += islice(records, LOOKED_AT)
        columns = list(dict.fromkeys(name for _, record in head for name in record))
        cells = ([record.get(name) for name in columns] for _, record in head if record)
        rows = [["" if value is None else str(value) for value in values] for values in cells]
        texts_at, label_at = choose_columns(columns, source, where, rows)
    texts, label = [columns[at] for at in texts_at], None if label_at is None else columns[label_at]
    for where, record in chain(head, records):
        yield record_row(record, texts, label, where, source.on_bad_row == "skip")


def _read_array(path: Path, source: Source, tell: Tell) -> Iterator[tuple[str, dict[str, Any]]]:
    """An array of records, each with the line on which it begins."""
    text = "\n".join(line for _, line in read_lines(path, source, tell=tell))
    at, seen, line = _BLANKS.match(text, text.index("[") + 1).end(), 0, 1
    while text[at : at + 1] != "]":
        line, seen = line + text.count("\n", seen, at), at
        where = f"{path}:{line}"
        decoder = json.JSONDecoder(object_pairs_hook=partial(_without_repeated_keys, where=where))
        record, at = _parsed(partial(decoder.raw_decode, text, at), where, "an array of records begins before it")
        if not isinstance(record, dict):
            raise DataError(f"{where}: an array of records holds objects, not a {type(record).__name__}")
        yield where, record
        gap = _GAP.match(text, at)
        at = gap.end()
        if "," not in gap[0] and text[at : at + 1] != "]":
            raise DataError(f"{where}: not JSON (no comma or bracket after this record); is the file whole?")
    if rest := text[at + 1 :].strip():
        raise DataError(f"{path}: not JSON ({rest[:20]!r} after the array); a file holds one array")


def _parsed(parse: Callable[[], Any], where: str, form: str) -> Any:
    try:
        return parse()
    except DataError:
        raise
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not JSON ({error}); {form}") from None


def _without_repeated_keys(pairs: list[tuple[str, Any]], where: str) -> dict[str, Any]:
    """JSON's own answer would be to keep the last value and say nothing."""
    record: dict[str, Any] = {}
    for key, value in pairs:
        if key in record:
            raise DataError(f"{where}: the key '{key}' stands twice in one object; remove one")
        record[key] = value
    return record

"""Rows of .tsv and .csv files: which delimiter, whose quotes, and whether the first line is a header.

A TSV line is split at its first tab and quotes are data, so the SMS Spam Collection gives its 5,574 rows; a CSV reader
would swallow two of them between unbalanced quotes. Only where a header and all quotes are a table's are they read as
such.
"""

import csv
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path

from data.columns import LABEL_NAMES, LOOKED_AT, TEXT_NAMES, choose_columns, find, has_usual_names, look_like_labels
from data.encodings import read_lines
from data.quotes import quotes_are_a_tables
from data.rows import DataError, Row, Source, Tell, blank_line

LINES_LOOKED_AT = 100  # of a .tsv without a header: is it label<TAB>text?
BLANK = "blank line"  # why a row is left out
Records = Iterator[tuple[str, list[str]]]  # (`file:line`, values)


def read_csv(path: Path, source: Source, tell: Tell) -> Iterator[Row]:
    delimiter = source.delimiter
    if delimiter is None:
        _, header = next(read_lines(path, source), ("", ""))
        delimiter = _delimiter_of(header)
        if delimiter != ",":
            tell(f"{path}: its first line has {delimiter!r} between the columns; it is read with that (--delimiter)")
    yield from _read_quoted(path, source, delimiter, tell)


def read_tsv(path: Path, source: Source, tell: Tell) -> Iterator[Row]:
    """With a header, if it names the columns; else it is `label<TAB>text`."""
    if source.delimiter is not None or source.quotechar is not None:
        yield from _read_quoted(path, source, source.delimiter or "\t", tell)
        return
    head = list(islice(read_lines(path, source), LOOKED_AT))
    if not head:
        return
    lines = read_lines(path, source, tell=tell)
    columns = head[0][1].split("\t")
    bare = [column.strip('"') for column in columns]
    named = source.text_column or source.label_column or source.header or has_usual_names(columns, source)
    if not named and not has_usual_names(bare, source) and not _names_one_of_two(bare, head, source):
        two = source.header is False and len(columns) == 2
        if two and quotes_are_a_tables(line for _, line in read_lines(path, source)):  # as with columns by number
            yield from _read_quoted(path, replace(source, text_column="2", label_column="1"), "\t", tell)
        else:
            yield from _read_headless(lines, head, source)
        return
    if quotes_are_a_tables(line for _, line in read_lines(path, source)):
        yield from _read_quoted(path, source, "\t", tell)
        return
    if not named and columns != bare:
        raise DataError(f"{head[0][0]}: only some columns in quotes; write the line without, or all with them")
    if source.header is False:
        columns = _numbers(columns)
    else:
        next(lines)
    # A text in the last column may hold tabs of its own.
    rows = [line.split("\t") for _, line in head[source.header is not False :]]
    texts_at, label_at = choose_columns(columns, source, head[0][0], rows)
    splits = len(columns) - 1 if texts_at == [len(columns) - 1] else -1
    records = ((where, line.split("\t", splits)) for where, line in lines)
    yield from _rows(records, columns, texts_at, label_at, "", source.on_bad_row == "skip")


def _rows(
    records: Records, columns: list[str], texts_at: list[int], label_at: int | None, hint: str, skip: bool
) -> Iterator[Row]:
    width, text_at = len(columns), texts_at[0]
    several = len(texts_at) > 1
    for where, values in records:
        if len(values) != width:
            if not "".join(values).strip():
                yield _blank(where, skip)
                continue
            raise DataError(f"{where}: {len(values)} columns, {_expected(columns)}{hint}")
        text = "\n".join([values[at] for at in texts_at]) if several else values[text_at]
        yield Row(text, None if label_at is None else values[label_at], where)


def _blank(where: str, skip: bool) -> Row:
    if not skip:
        raise blank_line(where)
    return Row("", None, where, BLANK)


def _expected(columns: list[str]) -> str:
    return f"the {'first line has' if columns == _numbers(columns) else 'header names'} {len(columns)}"


def _numbers(columns: list[str]) -> list[str]:
    return [str(number) for number in range(1, len(columns) + 1)]


def _names_one_of_two(columns: list[str], head: list[tuple[str, str]], source: Source) -> bool:
    """Whether a first line of two is a header of which one name is usual: its word stands in no row below it, and what
    stands beside it looks like what is sought."""
    if len(columns) != 2 or source.header is False:
        return False
    text, label = find(columns, TEXT_NAMES), find(columns, LABEL_NAMES)
    if (text is None) == (label is None):
        return False
    known = text if label is None else label
    rows = [row for _, line in head[1:] if len(row := line.split("\t")) == 2]
    if any(row[known].strip('"') == columns[known] for row in rows):
        return False
    few = look_like_labels([row[1 - known] for row in rows], source)
    return bool(rows) and few == (label is None)


def _read_headless(lines: Iterable[tuple[str, str]], head: list[tuple[str, str]], source: Source) -> Iterator[Row]:
    """`label<TAB>text`. A header with names of its own is noticed at the end: its "label" occurs nowhere else."""
    _check_two_columns(head[:LINES_LOOKED_AT], source)
    counts: Counter[str] = Counter()
    for where, line in lines:
        label, tab, text = line.partition("\t")
        if not line.strip():
            yield _blank(where, source.on_bad_row == "skip")
            continue
        if not tab:
            plain = "; plain text is read from a .txt file" * (not source.labelled)
            raise DataError(f"{where}: no tab; a line is label<TAB>text, or the file starts with a header line{plain}")
        if not counts:
            first = label, where
        counts[label] += 1
        yield Row(text, label if source.labelled else None, where)
    label, where = first
    if source.header is False or not source.labelled:
        return
    if counts.pop(label) == 1 and len(counts) > 1 and min(counts.values()) > 1:
        raise DataError(
            f"{where}: no other row has the label '{label}'; if this is the header, name its columns with "
            "--text_column and --label_column, else give --header false"
        )


def _check_two_columns(head: list[tuple[str, str]], source: Source) -> None:
    """Few texts hold a tab: where most lines have more columns, the first is not the label and the rest not the text.

    One line alone tells nothing.
    """
    wide = sum(line.count("\t") > 1 for _, line in head)
    if 2 * wide <= len(head) or len(head) < 2:
        return
    columns = head[0][1].split("\t")
    flags = "--text_column" + " and --label_column" * source.labelled
    some = ", ".join(f"{number} {column[:20]!r}" for number, column in enumerate(columns[:6], 1))
    said = "" if source.header is False else f" by name, or, if this is a row and no header, --header false and {flags}"
    raise DataError(
        f"{head[0][0]}: {len(columns)} columns, and no names that tell the text{' and the label' * source.labelled} "
        f"({some}{', ...' * (len(columns) > 6)}); choose with {flags}{said} by number, from 1"
    )


def _delimiter_of(header: str) -> str:
    """The comma, unless a header has none but another."""
    outside = re.sub(r'"[^"]*"', "", header)
    counts = {delimiter: outside.count(delimiter) for delimiter in ";\t|"}
    most = max(counts, key=counts.__getitem__)
    return most if counts[most] and "," not in outside else ","


def _read_quoted(path: Path, source: Source, delimiter: str, tell: Tell) -> Iterator[Row]:
    # A field as large as the file is legitimate: csv's own limit of 131,072 characters is not this project's.
    csv.field_size_limit(sys.maxsize)
    records = _records(path, source, delimiter, tell)
    where, columns = next(records, ("", None))
    if columns is None:
        return
    if not any(map(str.strip, columns)):
        raise DataError(f"{path}:1: blank, where the names of the columns should be; remove the line")
    if source.header is False:
        records, columns = chain([(where, columns)], records), _numbers(columns)
    head: list[tuple[str, list[str]]] = []
    if len(columns) == 2 and not has_usual_names(columns, source):
        head = list(islice(records, LOOKED_AT))
    texts_at, label_at = choose_columns(columns, source, f"{path}:1", [values for _, values in head])
    records, skip = chain(head, records), source.on_bad_row == "skip"
    yield from _rows(records, columns, texts_at, label_at, "; is a quote missing?", skip)


def _records(path: Path, source: Source, delimiter: str, tell: Tell) -> Records:
    lines = (line + "\n" for _, line in read_lines(path, source, returns=True, tell=tell))
    reader = csv.reader(lines, delimiter=delimiter, quotechar=source.quotechar or '"', strict=True)
    start = 1
    try:
        for values in reader:
            if not values and start > 1:
                _blank(f"{path}:{start}", source.on_bad_row == "skip")
            yield f"{path}:{start}", values
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}:{start}: broken table ({error}); is a quote not closed?") from None

"""Which columns of a table are its text and its label: by name, by number, by their usual names, or by what is left."""

import re
from collections.abc import Iterable, Sequence

from data.rows import DataError, Source

TEXT_NAMES = ("text", "sms", "message", "sentence", "content")
LABEL_NAMES = ("label", "labels", "category", "class", "target")
LOOKED_AT = 1000  # rows that tell a column of labels from one of texts
ROWS_PER_LABEL = 10


def choose_columns(
    columns: list[str], source: Source, where: str, rows: Sequence[Sequence[str]] = ()
) -> tuple[list[int], int | None]:
    """The positions of the texts and, if asked for, of the label; `rows` are the first of the table. Raises DataError.

    Of two columns one of which is known the other is taken, if it looks like what is sought.
    """
    wanted = [source.text_column] if isinstance(source.text_column, str) else source.text_column
    texts = [_named(columns, name, source, "--text_column", where) for name in wanted or ()]
    label = None
    if source.label_column is not None and source.labelled:
        label = _named(columns, source.label_column, source, "--label_column", where)
    texts = texts or [_text_of(columns, source)]
    label = find(columns, LABEL_NAMES, source) if label is None else label
    if texts == [None] and label is not None and _other_fits(columns, label, rows, source, labels=False):
        texts = [1 - label]
    if label is None and source.labelled and texts != [None] and len(texts) == 1:
        label = 1 - texts[0] if _other_fits(columns, texts[0], rows, source, labels=True) else None
    if texts == [None]:
        raise _asked(columns, source, where, rows, "--text_column")
    if not source.labelled:
        return _single(columns, texts, where), None
    if label is None:
        raise _asked(columns, source, where, rows, "--label_column")
    if label in texts:
        raise DataError(
            f"{where}: '{columns[label]}' is both text and label; choose with --text_column, --label_column"
        )
    return _single(columns, texts, where), _single(columns, [label], where)[0]


def has_usual_names(columns: list[str], source: Source) -> bool:
    text = _text_of(columns, source) is not None
    return text and (not source.labelled or find(columns, LABEL_NAMES, source) is not None)


def _text_of(columns: list[str], source: Source) -> int | None:
    if source.header is not False and source.learned_column in columns:
        return columns.index(source.learned_column)
    return find(columns, TEXT_NAMES, source)


def find(columns: list[str], usual: tuple[str, ...], source: Source | None = None) -> int | None:
    if source is not None and source.header is False:
        return None
    lower = [column.strip().lower() for column in columns]
    return next((lower.index(name) for name in usual if name in lower), None)


def looks_like_data(cells: Iterable[str]) -> bool:
    """Whether this can hardly be a line of names: a number, a sentence, or long."""
    return any(len(c) > 40 or c.count(" ") > 3 or c.strip().lstrip("-").replace(".", "", 1).isdigit() for c in cells)


def _named(columns: list[str], name: str, source: Source, flag: str, where: str) -> int:
    if name in columns:
        return columns.index(name)
    stripped = [column.strip() for column in columns]  # of `Label, Text` the second is " Text"
    if stripped.count(name.strip()) == 1:
        return stripped.index(name.strip())
    there = ", ".join(column[:40] for column in columns if column)  # a spreadsheet's empty columns have no names
    if source.header is False:
        raise DataError(
            f"{where}: no column '{name}'; without a header they are {columns[0]} to {columns[-1]} ({flag})"
        )
    hint = ""
    if name.isdigit() or looks_like_data(columns):
        hint = "; if this line is data, give --header false and columns by number, from 1"
    raise DataError(f"{where}: no column '{name}'; there are {there} (choose with {flag}){hint}")


def look_like_labels(values: Sequence[str], source: Source) -> bool:
    """Whether they are few, or all of them labels that are known."""
    return len(set(values)) * ROWS_PER_LABEL <= len(values) or set(values) <= set(source.known_labels or ())


def _other_fits(columns: list[str], known: int, rows: Sequence[Sequence[str]], source: Source, *, labels: bool) -> bool:
    values = [row[1 - known] for row in rows if len(columns) == len(row) == 2]
    return bool(values) and look_like_labels(values, source) == labels


def _single(columns: list[str], found: list[int], where: str) -> list[int]:
    for at in found:
        if columns.count(columns[at]) > 1:
            raise DataError(f"{where}: two columns have the same name ({columns[at]})")
    return found


def _asked(columns: list[str], source: Source, where: str, rows: Sequence[Sequence[str]], flag: str) -> DataError:
    if len(columns) == 1 and flag == "--label_column":
        way = "a classifier needs one (to write like these texts: --task language)"
        return DataError(f"{where}: there is no column of labels; {way}")
    there = ", ".join(column[:40] for column in columns if column)
    told = f"{where}: which column? There are {there}; choose with {flag}"
    if source.labelled and not (source.text_column or source.label_column) and flag == "--text_column":
        told += " and --label_column"
    if len(columns) == 2 and rows and len(rows[0]) == 2:
        told += f" (the first row: {columns[0]} {rows[0][0][:40]!r}, {columns[1]} {rows[0][1][:40]!r})"
    if len(columns) == 1 and source.delimiter is None and not re.fullmatch(r"[\w ]*", columns[0]):
        told += "; if something else stands between the columns, give it with --delimiter"
    if source.header is None and looks_like_data(columns):
        told += "; if this line is data, give --header false and columns by number, from 1"
    return DataError(told)

"""Rows out of files, one at a time, with the place each came from.

Every row is accounted for: what cannot be read stops the run with the file, the line and what to do.
"""

from collections.abc import Iterator
from pathlib import Path

from data.columns import LABEL_NAMES, TEXT_NAMES
from data.encodings import read_lines, split_lines, suffix_of
from data.hub import read_parquet
from data.json_rows import read_objects, records_to_rows
from data.rows import DataError, Row, Source, Tell, make_row, place_of, untold
from data.tables import read_csv, read_tsv

__all__ = ["FILE_SUFFIXES", "JSON_SUFFIXES", "LABEL_NAMES", "TEXT_NAMES", "DataError", "Row", "Source", "Tell"]
__all__ += ["make_row", "place_of", "read_lines", "read_objects", "read_rows", "split_lines", "suffix_of", "untold"]
JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
FILE_SUFFIXES = (".tsv", ".csv", *JSON_SUFFIXES, ".txt", ".parquet", ".gz")


def read_rows(source: Source, tell: Tell = untold) -> Iterator[Row]:
    """The rows of a file, by its suffix: .csv, .jsonl, .txt (one text a line, no labels), anything else as TSV.

    Each of them may be packed (.gz). `tell` hears how the file was read where that is no matter of course. Raises
    DataError.
    """
    path = Path(source.name)
    if not path.is_file():
        what = "is a directory, not a file" if path.is_dir() else "no such file (a hub dataset is written OWNER/NAME)"
        raise DataError(f"{path}: {what}")
    suffix = suffix_of(path)
    if suffix == ".csv":
        return read_csv(path, source, tell)
    if suffix == ".parquet":
        return read_parquet(path, source)
    if suffix in JSON_SUFFIXES:
        return records_to_rows(read_objects(path, source, tell), source)
    if suffix == ".txt" and not source.labelled and source.delimiter is None:
        return (Row(line, None, where) for where, line in read_lines(path, source, tell=tell))
    return read_tsv(path, source, tell)

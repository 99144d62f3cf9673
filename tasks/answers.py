"""Rows in, answers out: what infer.py reads, and a place in the output for rows that cannot be classified."""

import csv
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import data
from tasks.record import TaskRecord
from tasks.settings import table_flags, text_columns

LINES, TABLES = (".jsonl", ".ndjson", ".json"), {".csv": ",", ".tsv": "\t"}
AT_ONCE = 4_000_000  # characters of texts that are in memory together, one text more or less


def input_source(config: Any, record: TaskRecord | None) -> data.Source:
    """Where the rows of --input come from. The text columns that were learned from are those that are read.

    One column is not insisted on: another file's may be called `text`.
    """
    learned = record.dataset.get("text_column") if record else None
    insisted = isinstance(learned, list) or (config.header is False and str(learned).isdigit())
    columns = text_columns(config.text_column) or (learned if insisted else None)
    label, learned = config.label_column, learned if isinstance(learned, str) else None
    return data.Source(
        config.input, columns, label, labelled=label is not None, learned_column=learned, **table_flags(config)
    )


def in_portions(rows: Iterable[data.Row], most: int) -> Iterator[list[data.Row]]:
    """Rows in lists of at most `most`, fewer where texts are very long."""
    portion, size = [], 0
    for row in rows:
        portion.append(row)
        size += len(row.text)
        if len(portion) == most or size > AT_ONCE:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion


def answers(classifier: Any, rows: Sequence[data.Row], batch_size: int, *, skip: bool) -> Iterator[dict[str, Any]]:
    """An answer for each row, in order. With `skip` a row without a text has a null label and a reason instead."""
    faults = [classifier.rule.fault(row) if skip else "" for row in rows]
    good = [row for row, fault in zip(rows, faults) if not fault]
    told = iter(classifier.row_probabilities(good, batch_size) if good else ())
    for row, fault in zip(rows, faults):
        if fault:
            classifier.counts[fault] += 1
            unknown = dict.fromkeys(classifier.label_names)
            yield {"text": row.text, "label": None, "probabilities": unknown, "reason": fault}
        else:
            yield classifier.answer(row.text, next(told))


def suffix_of(name: str) -> str:
    return Path(name).suffix.lower() or name


def writer(file: IO[str], name: str, label_names: list[str], reasons: bool = False) -> Callable[[dict[str, Any]], None]:
    """How an answer is written, by the suffix of the file's name: JSON lines, or a table that `data.read_rows` reads.

    A table's header is the first line of the file. In a .tsv it stands in quotes: so quotes in it are a table's.
    """
    if suffix_of(name) in LINES:
        plain = not (file.encoding or "utf-8").lower().startswith("utf")  # else "é" would be written as "?"
        return lambda answer: print(json.dumps(answer, ensure_ascii=plain, allow_nan=False), file=file)
    # csv quotes a lone carriage return only where it is part of the line terminator, which it need not be in the file.
    lines = SimpleNamespace(write=lambda line: file.write(line.removesuffix("\r\n") + "\n"))
    delimiter, header = TABLES[suffix_of(name)], ["text", "label", *(f"p_{label}" for label in label_names)]
    quoting = csv.QUOTE_ALL if delimiter == "\t" else csv.QUOTE_MINIMAL
    csv.writer(lines, delimiter=delimiter, quoting=quoting).writerow(header + ["reason"] * reasons)
    table = csv.writer(lines, delimiter=delimiter)
    why = (lambda answer: [answer.get("reason", "")]) if reasons else lambda answer: []
    return lambda a: table.writerow([a["text"], a["label"], *a["probabilities"].values(), *why(a)])


def tell(line: str) -> None:
    print(line, file=sys.stderr)


def tell_counts(counts: Counter[str], max_length: int) -> None:
    """What happened to texts on the way."""
    faults = {kind: number for kind, number in counts.items() if kind != "cut"}
    if faults:
        kinds = ", ".join(f"{number:,} {kind}" for kind, number in faults.items())
        tell(f"{sum(faults.values()):,} rows have no label in the output ({kinds})")
    if counts["cut"]:
        tell(f"{counts['cut']:,} texts are longer than {max_length} tokens and were cut to that")

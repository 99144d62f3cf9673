"""Rows in, answers out: what infer.py reads, and a place in the output for rows that cannot be classified."""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import data
from tasks.record import TaskRecord
from tasks.settings import table_flags, text_columns


def input_rows(config: Any, record: TaskRecord | None) -> Iterator[data.Row]:
    """The rows of --input. Several text columns that were learned from are those that are read."""
    learned = record.dataset.get("text_column") if record else None
    columns = text_columns(config.text_column) or (learned if isinstance(learned, list) else None)
    return data.read_rows(data.Source(config.input, columns, labelled=False, **table_flags(config)), tell)


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

"""A labelled set of texts: from a file or from the Hugging Face hub, with one rule for what counts as the text."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from data.hub import read_hub
from data.reading import FILE_SUFFIXES, DataError, Row, Source, Tell, read_rows, untold
from data.rows import LEAVES_OUT

# What steers a terminal or ends a line, and halves of characters: names stand in tables, cards and headers.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_HUB_ID = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")


@dataclass(frozen=True)
class TextRule:
    """What is done to a text before it is tokenised, in training and in inference alike.

    Rows from the hub end in a newline and rows from a file do not; stripped, they are the same texts.
    """

    strip: bool = True

    def fault(self, row: Row) -> str:
        """Why a row cannot be used, or nothing: the kinds that --on_bad_row skip leaves out."""
        if row.fault:
            return row.fault
        if not (row.text.strip() if self.strip else row.text):
            return "empty text"
        return "empty label" if row.label is not None and not row.label.strip() else ""

    def apply(self, row: Row) -> str:
        text = row.text.strip() if self.strip else row.text
        if not text:
            raise DataError(f"{row.where}: empty text; remove the row or fill it in; {LEAVES_OUT}")
        _check_characters(f"{text}{row.label}", row.where)
        return text

    def apply_to_pair(self, prompt: str, completion: str, where: str) -> tuple[str, str]:
        """(prompt, completion): blanks go at the outer ends alone. The one in between is the user's: it decides how
        the first word of the completion is tokenised."""
        if self.strip:
            prompt, completion = prompt.lstrip(), completion.rstrip()
            completion = completion if prompt else completion.lstrip()
        if not completion:
            raise DataError(f"{where}: empty completion, so nothing to learn; remove the row or fill it in")
        _check_characters(prompt + completion, where)
        return prompt, completion


@dataclass(frozen=True)
class TextDataset:
    """`labels[i]` numbers the label of `texts[i]` in `label_names`."""

    name: str
    texts: list[str]
    labels: list[int]
    label_names: list[str]
    rejected: tuple[tuple[str, str], ...] = ()  # (`file:line`, reason) of rows that were left out
    notes: tuple[str, ...] = ()  # what a user should know of how the file was read
    # Numbers of the last rows, which came from files of their own: `split_rows` takes them as they are.
    val_rows: Sequence[int] = ()
    test_rows: Sequence[int] = ()

    @property
    def id2label(self) -> dict[int, str]:
        return dict(enumerate(self.label_names))

    @property
    def label2id(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.label_names)}

    def left_out(self) -> str:
        """A line on the rows that were left out, or nothing."""
        if not self.rejected:
            return ""
        kinds = ", ".join(f"{number:,} {kind}" for kind, number in Counter(kind for _, kind in self.rejected).items())
        return f"{len(self.rejected):,} of {len(self.rejected) + len(self.texts):,} rows were left out ({kinds})"

    def disputed_texts(self) -> int:
        """Texts that stand there with more than one label."""
        labels = Counter(text for text, _ in set(zip(self.texts, self.labels)))
        return sum(number > 1 for number in labels.values())

    def fingerprint(self) -> str:
        """`2:`, the sha256 of texts and labels in their order, `:`, that of the names of the labels.

        A label that was renamed is another task. Before `2:` there was the first part alone. Where files of their own
        give the validation or test rows, their numbers follow: a row that moves from one file to another counts.
        """
        digest = hashlib.sha256()
        for text, label in zip(self.texts, self.labels):
            digest.update(f"{label}\0{text}\0".encode())
        names = hashlib.sha256(json.dumps(self.label_names).encode())
        own = f":{len(self.val_rows)}:{len(self.test_rows)}" if self.val_rows or self.test_rows else ""
        return f"2:{digest.hexdigest()}:{names.hexdigest()}{own}"


def load_texts(source: Source, rule: TextRule, label_names: Sequence[str] | None = None) -> TextDataset:
    """All rows of a file, or of a hub dataset's `train` split; raises DataError unless they can be learned from.

    Labels are numbered in alphabetical order (numbers in numerical), so that of ham and spam the second, the
    positive one, is spam. A hub dataset's own order is kept. With `label_names`, those of what was learned, the rows
    are only to be tested on: they get these numbers, and one label is enough. Without, the rows of the source's
    validation and test files stand behind its own; they must have its labels.
    """
    dataset = _load_file(source, rule, label_names)
    for part, name in (("validation", source.validation_dataset), ("test", source.test_dataset)):
        if label_names is not None or name is None:
            continue
        more = _load_file(replace(source, name=name, split=part), rule, dataset.label_names)
        rows = range(len(dataset.texts), len(dataset.texts) + len(more.texts))
        note = f"{name}: {len(rows):,} rows, which are the {part} part"
        dataset = replace(
            dataset, texts=dataset.texts + more.texts, labels=dataset.labels + more.labels,
            rejected=dataset.rejected + more.rejected, notes=(*dataset.notes, note, *more.notes),
            **{"test_rows" if part == "test" else "val_rows": rows},
        )  # fmt: skip
    return dataset


def _load_file(source: Source, rule: TextRule, label_names: Sequence[str] | None) -> TextDataset:
    if label_names:
        source = replace(source, known_labels=list(label_names))
    notes: list[str] = []
    rejected: list[tuple[str, str]] = []
    rows, names = open_rows(source, notes.append)
    names = list(label_names) if label_names else names
    texts, labels, places = [], [], {}
    for row in usable_rows(rows, source, rule, rejected):
        texts.append(rule.apply(row))
        labels.append(row.label)
        places.setdefault(row.label, row.where)
    if not texts:
        left_out = f" but {len(rejected):,} that were left out, the first {rejected[0][0]}" if rejected else ""
        raise DataError(f"{source.name}: no rows{left_out}")
    one_name = _one_name_each(Counter(labels), names or (), places)
    notes += [f"{source.name}: labels {', '.join(forms)} are one label, {name}" for name, forms in one_name.said()]
    names = names or _order_labels({one_name[label]: None for label in places})
    unknown = next((label for label in places if one_name[label] not in names), None)
    if unknown is not None and not unknown.strip():
        raise _empty_label(places[unknown])
    if unknown is not None:
        raise DataError(f"{places[unknown]}: label {unknown} is not one of {', '.join(names)}; an unlabelled row?")
    if not label_names:
        _check_labels(source.name, names, {one_name[label]: where for label, where in places.items()}, len(texts))
    number = {name: i for i, name in enumerate(names)}
    numbers = {label: number[one_name[label]] for label in places}
    return TextDataset(source.name, texts, [numbers[label] for label in labels], names, tuple(rejected), tuple(notes))


def usable_rows(
    rows: Iterable[Row], source: Source, rule: TextRule, rejected: list[tuple[str, str]] | None = None
) -> Iterator[Row]:
    """The rows without those that --on_bad_row skip leaves out, which go to `rejected`."""
    for row in rows:
        fault = rule.fault(row) if source.on_bad_row == "skip" else ""
        if not fault:
            yield row
        elif rejected is not None:
            rejected.append((row.where, fault))


def open_rows(source: Source, tell: Tell = untold) -> tuple[Iterator[Row], list[str] | None]:
    """The rows of a file or of a split of a hub dataset, and the label names that the hub gives, if it does."""
    return read_hub(source) if is_hub_id(source.name) else (read_rows(source, tell), None)


def is_hub_id(name: str) -> bool:
    """`owner/name`, unless it is, or by its folder or ending was meant to be, a file."""
    path = Path(name)
    file = path.exists() or path.parent.is_dir() or path.suffix.lower() in FILE_SUFFIXES
    return not file and _HUB_ID.fullmatch(name) is not None


def _check_characters(text: str, where: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DataError(f"{where}: holds half of a surrogate pair, which is no character; repair the row") from None


def fault_of_labels(names: Sequence[str]) -> str:
    """Why these cannot be the names of labels, or nothing."""
    for name, number in Counter(names).items():
        if _CONTROL.search(name):
            return f"label {name!r} holds a line break or another control character"
        if number > 1:
            return f"{number} labels are called {name!r}"
    return ""


def _order_labels(places: dict[str, str]) -> list[str]:
    numeric = all(re.fullmatch(r"-?\d{1,18}", label) for label in places)
    return sorted(places, key=(lambda label: (int(label), label)) if numeric else None)


def _check_labels(name: str, names: list[str], places: dict[str, str], rows: int) -> None:
    if len(places) < 2:
        raise DataError(f"{name}: all rows have the label '{next(iter(places))}'; at least two labels are needed")
    if len(places) > max(100, rows // 2):
        raise DataError(f"{name}: {len(places)} different labels in {rows} rows; is --label_column the text column?")
    if fault := fault_of_labels(names):
        raise DataError(f"{name}: {fault}; rename it")
    for label, where in places.items():
        if not label.strip():
            raise _empty_label(where)


class _Names(dict[str, str]):
    """label as it is written -> its name"""

    def said(self) -> list[tuple[str, list[str]]]:
        """(name, the spellings) of each label that is written in several ways."""
        forms: dict[str, list[str]] = {}
        for label, name in self.items():
            forms.setdefault(name, []).append(repr(label))
        return [(repr(name), which) for name, which in forms.items() if len(which) > 1]


def _one_name_each(counts: Counter[str], known: Sequence[str], places: dict[str, str]) -> _Names:
    """Labels that differ only in case, in blanks around them or in `.0` have one name: the known one, else the one
    that most rows have."""
    name_of = {}
    for label, _ in counts.most_common():
        name_of.setdefault(_plain(label), re.sub(r"^(-?\d+)\.0+$", r"\1", label.strip()))
    alone = Counter(map(_plain, counts))
    name_of |= {_plain(label): label for label in counts if alone[_plain(label)] == 1}  # its name is its own affair
    name_of |= {_plain(label): label for label in known}
    return _Names({label: label if label in known else name_of[_plain(label)] for label in places})


def _plain(label: str) -> str:
    """What the spellings of one label have in common; a table writes 1 as 1.0 once a cell of the column is empty."""
    return re.sub(r"^(-?\d+)\.0+$", r"\1", label.strip().lower())


def _empty_label(where: str) -> DataError:
    return DataError(f"{where}: empty label; {LEAVES_OUT}")

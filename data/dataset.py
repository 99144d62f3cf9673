"""A labelled set of texts: from a file or from the Hugging Face hub, with one rule for what counts as the text."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from data.reading import FILE_SUFFIXES, LABEL_NAMES, TEXT_NAMES, DataError, Row, Source, make_row, read_rows

# What steers a terminal or ends a line, and halves of characters: names stand in tables, cards and headers.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_HUB_ID = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")


@dataclass(frozen=True)
class TextRule:
    """What is done to a text before it is tokenised, in training and in inference alike.

    Rows from the hub end in a newline and rows from a file do not; stripped, they are the same texts.
    """

    strip: bool = True

    def apply(self, row: Row) -> str:
        text = row.text.strip() if self.strip else row.text
        if not text:
            raise DataError(f"{row.where}: empty text; remove the row or fill it in")
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

    @property
    def id2label(self) -> dict[int, str]:
        return dict(enumerate(self.label_names))

    @property
    def label2id(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.label_names)}

    def disputed_texts(self) -> int:
        """Texts that stand there with more than one label."""
        labels = Counter(text for text, _ in set(zip(self.texts, self.labels)))
        return sum(number > 1 for number in labels.values())

    def fingerprint(self) -> str:
        """`2:`, the sha256 of texts and labels in their order, `:`, that of the names of the labels.

        A label that was renamed is another task. Before `2:` there was the first part alone.
        """
        digest = hashlib.sha256()
        for text, label in zip(self.texts, self.labels):
            digest.update(f"{label}\0{text}\0".encode())
        names = hashlib.sha256(json.dumps(self.label_names).encode())
        return f"2:{digest.hexdigest()}:{names.hexdigest()}"


def load_texts(source: Source, rule: TextRule, label_names: Sequence[str] | None = None) -> TextDataset:
    """All rows of a file, or of a hub dataset's `train` split; raises DataError unless they can be learned from.

    Labels are numbered in alphabetical order (numbers in numerical), so that of ham and spam the second, the
    positive one, is spam. A hub dataset's own order is kept. With `label_names`, those of what was learned, the rows
    are only to be tested on: they get these numbers, and one label is enough.
    """
    rows, names = open_rows(source)
    names = list(label_names) if label_names else names
    texts, labels, places = [], [], {}
    for row in rows:
        texts.append(rule.apply(row))
        labels.append(row.label)
        places.setdefault(row.label, row.where)
    if not texts:
        raise DataError(f"{source.name}: no rows")
    names = names or _order_labels(places)
    unknown = next((label for label in places if label not in names), None)
    if unknown is not None:
        raise DataError(f"{places[unknown]}: label {unknown} is not one of {', '.join(names)}; an unlabelled row?")
    if not label_names:
        _check_labels(source.name, names, places, len(texts))
    number = {name: i for i, name in enumerate(names)}
    return TextDataset(source.name, texts, [number[label] for label in labels], names)


def open_rows(source: Source) -> tuple[Iterator[Row], list[str] | None]:
    """The rows of a file or of a hub dataset's `train` split, and the label names that the hub gives, if it does."""
    return _from_hub(source) if is_hub_id(source.name) else (read_rows(source), None)


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
    forms = {_plain(label): label for label in names}
    for label, where in places.items():
        if not label.strip():
            raise DataError(f"{where}: empty label")
        twin = forms[_plain(label)]
        if twin != label:
            raise DataError(
                f"{where}: label {label!r} and label {twin!r} differ only in case, spaces or '.0'; use one of them"
            )


def _plain(label: str) -> str:
    """What the spellings of one label have in common; a table writes 1 as 1.0 once a cell of the column is empty."""
    return re.sub(r"^(-?\d+)\.0+$", r"\1", label.strip().lower())


def _from_hub(source: Source) -> tuple[Iterator[Row], list[str] | None]:
    # Imported here: it takes seconds, and a run on a local file does not need it.
    try:
        import datasets
    except ImportError:
        raise DataError(
            f"{source.name}: no such file; a data set of the Hugging Face hub needs `pip install datasets`"
        ) from None

    unreachable, before = _why_unreachable(), datasets.config.HF_HUB_OFFLINE
    # Told that it is offline, the library looks into its cache at once; left alone it retries for 20 seconds first.
    datasets.config.HF_HUB_OFFLINE = before or unreachable is not None
    try:
        table = datasets.load_dataset(source.name, split="train")
    except Exception as error:  # noqa: BLE001 - offline, unknown id, no such split: the hub's errors share no base class
        reason = unreachable or _first_line(error)
        raise DataError(
            f"{source.name}: no such file, and not to be had from the Hugging Face hub ({reason}); "
            "without a network give the path of a .tsv, .csv or .jsonl file"
        ) from error
    finally:
        datasets.config.HF_HUB_OFFLINE = before
    text = _hub_column(source.name, table.column_names, source.text_column, TEXT_NAMES, "--text_column")
    label = None
    if source.labelled:
        label = _hub_column(source.name, table.column_names, source.label_column, LABEL_NAMES, "--label_column")
    if text == label:
        raise DataError(f"{source.name}: '{text}' is both text and label; choose with --text_column, --label_column")
    names = None if label is None else getattr(table.features[label], "names", None)

    def rows() -> Iterator[Row]:
        for i, record in enumerate(table):
            value = None if label is None else record[label]
            value = names[value] if names and isinstance(value, int) and 0 <= value < len(names) else value
            yield make_row(record[text], value, f"{source.name} row {i}", text, label)

    return rows(), list(names) if names else None


def _why_unreachable() -> str | None:
    """One request to the hub, through the proxies and certificates its library uses; None if anything answers."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except Exception as error:  # noqa: BLE001 - which HTTP library it is, and so its errors, changes with the version
        return _first_line(error)
    return None


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _hub_column(name: str, columns: list[str], wanted: str | None, usual: tuple[str, ...], flag: str) -> str:
    column = wanted if wanted is not None else next((c for c in usual if c in columns), None)
    if column not in columns:
        raise DataError(
            f"{name}: no column '{wanted or usual[0]}'; there are {', '.join(columns)} (choose with {flag})"
        )
    return column

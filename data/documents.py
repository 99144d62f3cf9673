"""The texts a language model learns to write from: plain text, a table's text column, or prompts and completions."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from data.dataset import TextRule, is_hub_id, open_rows
from data.reading import JSON_SUFFIXES, DataError, Row, Source, Tell, read_lines, read_objects, suffix_of

SEPARATOR = "<|endoftext|>"  # a line of its own between two documents of a .txt file
_PAIR = ("prompt", "completion")


@dataclass(frozen=True)
class Document:
    """`prompt` is read and `text` learned; they follow one another with nothing in between."""

    text: str
    prompt: str  # "" where all is learned
    where: str  # "book.txt:120"


@dataclass(frozen=True)
class Documents:
    name: str
    items: list[Document]
    kind: str  # "texts" (plain text), "rows" (of a table) or "completions" (with their prompts)
    notes: tuple[str, ...] = ()  # what a user should know of how the file was read

    @property
    def texts(self) -> list[str]:
        """All that is read of each document: its prompt, if it has one, and its text."""
        return [document.prompt + document.text for document in self.items]

    def n_bytes(self, numbers: Iterable[int]) -> int:
        """UTF-8 bytes of what is learned of these documents; the end of a text is a token, but no byte."""
        return sum(len(self.items[number].text.encode()) for number in numbers)

    def fingerprint(self) -> str:
        """sha256 over prompts and texts, in order."""
        digest = hashlib.sha256()
        for document in self.items:
            digest.update(f"{document.prompt}\0{document.text}\0".encode())
        return digest.hexdigest()


def load_documents(source: Source, rule: TextRule, only_label: str | None = None) -> Documents:
    """All documents of a file, a directory of .txt files or a hub dataset's `train` split; raises DataError.

    .txt          documents separated by a line that is exactly `<|endoftext|>`; a file without one is one document
    directory     its .txt files in the order of their names
    .jsonl        with `prompt` and `completion` in each row, unless a text column is named
    other tables  as `read_rows` reads them: the text column; with `only_label` the rows of that label alone
    """
    path, kind, notes = Path(source.name), _kind_of(source), []
    if only_label is not None and kind != "rows":
        raise DataError(f"{path}: has no labels, so none is '{only_label}'; leave --only_label out")
    if kind == "rows":
        items = list(_read_table(source, rule, only_label, notes.append))
    elif kind == "completions":
        items = list(_read_pairs(path, source, rule, notes.append))
    else:
        items = [document for file in _text_files(path) for document in _read_text(file, source, rule, notes.append)]
    if not items:
        raise DataError(f"{source.name}: no text in it")
    return Documents(source.name, items, kind, tuple(notes))


def _kind_of(source: Source) -> str:
    path = Path(source.name)
    suffix = suffix_of(path)
    if is_hub_id(source.name) or not path.exists():
        return "rows"
    if path.is_dir() or suffix == ".txt":
        return "texts"
    if suffix in JSON_SUFFIXES and source.text_column is None:
        _, first = next(read_objects(path, source), (None, {}))
        return "completions" if any(key in first for key in _PAIR) else "rows"
    return "rows"


def _text_files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted((p for p in path.iterdir() if p.suffix.lower() == ".txt" and p.is_file()), key=lambda p: p.name)
    if not files:
        raise DataError(f"{path}: a directory without .txt files; name a file, or put the texts there as .txt")
    return files


def _read_text(path: Path, source: Source, rule: TextRule, tell: Tell) -> Iterator[Document]:
    """Blank lines inside a document are part of it; a document of nothing else is none."""
    lines = read_lines(path, source, tell=tell)
    for separates, group in groupby(lines, key=lambda line: line[1] == SEPARATOR):
        if not separates:
            places, texts = zip(*group)
            text = "\n".join(texts)
            if text.strip():
                yield Document(rule.apply(Row(text, None, places[0])), "", places[0])


def _read_pairs(path: Path, source: Source, rule: TextRule, tell: Tell) -> Iterator[Document]:
    for where, record in read_objects(path, source, tell):
        for key in _PAIR:
            if not isinstance(record.get(key), str):
                what = "is not a text" if record.get(key) is not None else "is missing or null"
                raise DataError(
                    f"{where}: '{key}' {what}; a row has both prompt and completion, or else name a --text_column"
                )
        prompt, completion = rule.apply_to_pair(record["prompt"], record["completion"], where)
        yield Document(completion, prompt, where)


def _read_table(source: Source, rule: TextRule, only_label: str | None, tell: Tell) -> Iterator[Document]:
    rows, _ = open_rows(replace(source, labelled=only_label is not None), tell)
    labels: Counter[str | None] = Counter()
    for row in rows:
        labels[row.label] += 1
        if row.label == only_label:
            yield Document(rule.apply(row), "", row.where)
    if labels and only_label not in labels:
        there = ", ".join(str(label) for label, _ in labels.most_common(6)) + ", ..." * (len(labels) > 6)
        raise DataError(f"{source.name}: no row has the label '{only_label}'; there are {there}")

"""Invented files of texts: rows or a DataError come of them, and what infer.py writes is read as it was."""

import pytest

from data import DataError, Source, fault_of_labels, read_rows
from tasks import answers
from tests.strangers.fuzzing import examples, hypothesis

given, st = hypothesis.given, hypothesis.strategies
pytestmark = pytest.mark.promise("P4")

PIECES = [
    b"\n",
    b"\r\n",
    b"\r",
    b"\t",
    b",",
    b'"',
    b'""',
    b"\0",
    b"a",
    b" ",
    b"label\ttext\n",
    b"text,label\n",
    b"\xff",
]
PIECES += [
    b'"text"\t"label"\n',
    b"\xef\xbb\xbf",
    b"\xe2\x80\xa8",
    b"\xc2\x85",
    b"ham\tsee you\n",
    b"ham,see you\n",
    b"[",
]
PIECES += [
    b'{"text": "a", "label": "b"}\n',
    b'{"text": ',
    b'"label": 1',
    b"}",
    b"NaN",
    b"9" * 5000,
    b"\\ud800",
    b"[" * 4000,
]
FILES = st.one_of(st.binary(max_size=300), st.lists(st.sampled_from(PIECES), max_size=30).map(b"".join))


GOOD = {
    ".tsv": [b"ham\tsee you\n", b"spam\ta\tb\r\n", b"ham\t\xc2\x85\xe2\x80\xa8\0\n", b"ham\t\n"],
    ".csv": [b"ham,see you\n", b"spam,a b\r\n", b"ham,\xc2\x85\xe2\x80\xa8\0\n", b"ham,\n"],
    ".jsonl": [b'{"label": "ham", "text": "see you"}\n', b'{"label": 1, "text": "\xc2\x85"}\r\n'],
    ".txt": [b"see you\n", b"\n", b"\tyou\r\n", b" \xe2\x80\xa8 \n"],
}


def files(suffix: str) -> "st.SearchStrategy[bytes]":
    """Anything; or lines that can be read, under a header, with or without one that cannot among them."""
    header = {".tsv": b"label\ttext\n", ".csv": b"label,text\n"}.get(suffix, b"")
    good = st.lists(st.sampled_from(GOOD[suffix]), max_size=12).map(lambda lines: header + b"".join(lines))
    return FILES | good | st.tuples(good, FILES).map(b"".join)


def lines_in(content: bytes) -> int:
    """Counted without the reader: those up to the last that is not blank."""
    lines = content.decode().removeprefix("\ufeff").split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    return len(lines)


@pytest.mark.parametrize("suffix", [".tsv", ".csv", ".jsonl", ".txt"])
def test_any_bytes_are_rows_all_of_them_or_a_data_error(tmp_path, suffix):
    @examples()
    @given(content=files(suffix), labelled=st.booleans(), named=st.booleans())
    def check(content, labelled, named):
        path = tmp_path / f"rows{suffix}"
        path.write_bytes(content)
        source = Source(str(path), "text" if named else None, "label" if named else None, labelled=labelled)
        try:
            rows = list(read_rows(source))
        except DataError as error:
            assert str(path) in str(error)
            return
        lines = lines_in(content)
        if suffix == ".jsonl" or (suffix == ".txt" and not labelled):
            assert len(rows) == lines
        elif b'"' not in content:
            header = suffix == ".csv" or named or "text" in content.decode().split("\n")[0].lower()
            assert len(rows) in {lines - 1 if header and lines else lines, lines if suffix != ".csv" else 0}
        else:  # a row may have several lines there, but no line has several rows
            assert len(rows) <= lines

    check()


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1) | st.text('"\t\n\r, a', min_size=1, max_size=9)
NAME = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), min_size=1)
NAMES = st.lists(NAME, min_size=2, max_size=3, unique=True)


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".tsv"])
def test_predictions_are_read_back_to_the_texts_and_labels_that_were_written(tmp_path, suffix):
    @examples()
    @given(texts=st.lists(TEXTS, min_size=1, max_size=6), names=NAMES, data=st.data())
    def check(texts, names, data):
        assert not fault_of_labels(names)
        labels = [data.draw(st.sampled_from(names)) for _ in texts]
        path = tmp_path / f"out{suffix}"
        with open(path, "w", encoding="utf-8", newline="") as file:
            write = answers.writer(file, path.name, names)
            for text, label in zip(texts, labels):
                write({"text": text, "label": label, "probabilities": dict.fromkeys(names, 1e-06)})
        assert [(row.text, row.label) for row in read_rows(Source(str(path)))] == list(zip(texts, labels))
        assert [row.text for row in read_rows(Source(str(path), labelled=False))] == texts

    check()


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_a_text_that_mimics_rows_is_read_as_one_text(tmp_path, suffix):
    gap = {".csv": ",", ".tsv": "\t"}[suffix]
    texts = [f'a{gap}ham{gap}0.9{gap}0.1\nb"', f'"{gap}ham{gap}0.9{gap}0.1\n{gap}', "\r\n", "\r", "\n" * 9, "plain"]
    path = tmp_path / f"out{suffix}"
    with open(path, "w", encoding="utf-8", newline="") as file:
        write = answers.writer(file, path.name, ["ham", "spam"])
        for text in texts:
            write({"text": text, "label": "ham", "probabilities": {"ham": 0.9, "spam": 0.1}})
    assert [row.text for row in read_rows(Source(str(path)))] == texts


def test_no_file_of_answers_holds_a_number_that_is_none(tmp_path):
    with (
        open(tmp_path / "out.jsonl", "w", encoding="utf-8") as file,
        pytest.raises(ValueError, match="not JSON compliant"),
    ):
        answers.writer(file, "out.jsonl", ["ham"])(
            {"text": "a", "label": "ham", "probabilities": {"ham": float("nan")}}
        )

"""What goes into infer.py and comes out: standard input, CSV and TSV, wrong columns, empty texts, flags that clash."""

import csv
import io
import json
import sys
import types

import pytest

import infer
import train
from training.errors import run_door

TEXTS = ['he said "hi", then left', "tab\there", "line\nbreak", "café £5 😀", "=1+1", "free prize"]


@pytest.fixture(scope="module")
def run(tiny_base, messages_file, tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / "run"
    settings = {"model": str(tiny_base), "dataset": str(messages_file), "device": "cpu", "precision": "fp32"}
    train.main(train.TrainConfig(**settings, learning_rate=1e-2, max_steps=3, output_dir=str(directory)))
    return directory


@pytest.fixture
def door(run):
    def door(*argv):
        arguments = ["--adapter", str(run), "--device", "cpu", *map(str, argv)]
        return run_door(lambda: infer.main(infer.parse(infer.InferConfig, arguments, prog="infer.py", description="")))

    return door


@pytest.fixture
def typed(monkeypatch):
    """Put bytes on standard input."""

    def typed(content: bytes, terminal: bool = False):
        stdin = types.SimpleNamespace(buffer=io.BytesIO(content), isatty=lambda: terminal)
        monkeypatch.setattr(sys, "stdin", stdin)

    return typed


def error_of(capsys):
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("error: ") and captured.err.count("\n") == 1
    return captured.err


@pytest.mark.parametrize("argv", [[], ["-"], ["--input", "-"]])
def test_standard_input_has_a_text_a_line(door, typed, capsys, argv):
    typed("free prize\r\nsee you\u2028at eight\n\n".encode())
    assert door(*argv) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.removesuffix("\n").split("\n")]
    assert [answer["text"] for answer in answers] == ["free prize", "see you\u2028at eight"]


def test_standard_input_is_read_in_the_encoding_given(door, typed, capsys):
    typed("café".encode("latin-1"))
    assert door() == 3
    assert "standard input:1: byte 4 is not utf-8" in error_of(capsys)
    typed("café".encode("latin-1"))
    assert door("--encoding", "latin-1") == 0
    assert json.loads(capsys.readouterr().out)["text"] == "café"


def test_on_a_terminal_each_line_is_answered_before_the_next_is_read(door, typed, capsys, monkeypatch):
    typed(b"", terminal=True)
    seen = []

    def lines():
        for line in (b"one\n", b"two\n"):
            yield line
            seen.append(capsys.readouterr().out)

    sys.stdin.buffer = lines()
    assert door() == 0
    assert [json.loads(out)["text"] for out in seen] == ["one", "two"]


def test_an_empty_standard_input_has_no_answers(door, typed, capsys):
    typed(b"\n\n")
    assert door() == 0
    assert capsys.readouterr().out == ""


@pytest.mark.promise("P14")
@pytest.mark.parametrize(("suffix", "gap"), [(".csv", ","), (".tsv", "\t")])
def test_tables_keep_every_text_and_have_a_column_for_each_label(door, run, tmp_path, suffix, gap):
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    assert door("--input", tmp_path / "in.jsonl", "--output", tmp_path / f"out{suffix}") == 0
    with open(tmp_path / f"out{suffix}", encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file, delimiter=gap)
    assert header == ["text", "label", "p_ham", "p_spam"]
    assert [row[0] for row in rows] == TEXTS
    for row, p in zip(rows, infer.load_classifier(run, device="cpu").probabilities(TEXTS)):
        assert [float(cell) for cell in row[2:]] == pytest.approx(p, abs=1e-6)
        assert row[1] == ["ham", "spam"][p[1] > p[0]]


@pytest.mark.promise("P14")
@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl"])
def test_predictions_can_be_classified_again(door, tmp_path, suffix):
    one, two = tmp_path / f"one.{suffix}", tmp_path / f"two.{suffix}"
    assert door(*TEXTS, '\r\n\t"x"\r', "--output", one) == 0
    assert door("--input", one, "--output", two) == 0
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.promise("P16")
@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--text_column", "body"], "in.csv:1: no column 'body'; there are id, sms (choose with --text_column)"),
        (["--encoding", "undefined"], "--encoding undefined: files in it cannot be read line by line"),
    ],
)
def test_a_wrong_column_or_encoding_of_an_input_file_is_told(door, tmp_path, capsys, flags, words):
    (tmp_path / "in.csv").write_text("id,sms\n1,hello\n")
    assert door("--input", tmp_path / "in.csv", "--output", tmp_path / "out.csv", *flags) == 3
    assert words in error_of(capsys)
    assert [p.name for p in tmp_path.iterdir()] == ["in.csv"]


@pytest.mark.parametrize("texts", [("",), ("fine", "  \n")])
def test_an_empty_text_is_told_by_its_number(door, capsys, texts):
    assert door(*texts) == 3
    assert f"text {len(texts)}: empty text" in error_of(capsys)


def test_an_empty_line_between_others_is_told(door, typed, capsys):
    typed(b"one\n\ntwo\n")
    assert door() == 3
    assert "standard input:2: empty text" in error_of(capsys)


@pytest.mark.promise("P16")
@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["hi", "--input", "x.csv"], "give one"),
        (["hi", "--sample", "3"], "give one"),
        (["--sample", "3", "--output", "x.csv"], "--sample prints a table"),
        (["hi", "--output", "x.xlsx"], "must end in .jsonl, .csv or .tsv"),
        (["--sample", "0"], "--sample 0: must be at least 1"),
    ],
)
def test_flags_that_clash_are_told_instead_of_one_being_ignored(door, tmp_path, capsys, monkeypatch, argv, words):
    monkeypatch.chdir(tmp_path)
    assert door(*argv) == 2
    assert words in error_of(capsys)
    assert not list(tmp_path.iterdir())


@pytest.mark.promise("P16")
def test_an_output_that_cannot_be_written_is_told(door, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert door("hi", "--output", tmp_path / "file" / "out.csv") == 5
    assert "file" in error_of(capsys)

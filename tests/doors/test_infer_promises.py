"""What infer.py promises of any input: a row out for each row in, whole or not at all, in bounded memory and time."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import train
from tasks import classifier
from tests.fresh import ROOT, last_line
from tests.strangers.doors import call, refusal

# Peak memory, in MB, after each of several calls of infer.py in one process. getrusage's would be pytest's own: it
# survives the start of a program.
PEAKS = """
import json, re, sys
from tests.strangers.doors import MAINS
peaks = []
for argv in json.loads(sys.argv[1]):
    MAINS["infer.py"](argv)
    peaks.append(int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024)
print(json.dumps(peaks))
"""


@pytest.fixture(scope="module")
def run(tiny_base, messages_file, tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("runs") / "run"
    settings = {"model": str(tiny_base), "dataset": str(messages_file), "device": "cpu", "precision": "fp32"}
    train.main(train.TrainConfig(**settings, learning_rate=1e-2, max_steps=2, output_dir=str(directory)))
    return directory


def flags(run, *more) -> list[str]:
    return ["--adapter", str(run), "--device", "cpu", *map(str, more)]


def peaks_of(run, tmp_path, sizes) -> list[float]:
    """Peaks of runs over files of so many rows; each output is looked at."""
    text = lambda i: f"{i}: " + f"see you at {i % 24}; " * 40  # noqa: E731 - kept, 20,000 take 16 MB
    for n in sizes:
        with open(tmp_path / f"{n}.txt", "w", encoding="utf-8") as file:
            file.writelines(f"{text(i)}\n" for i in range(n))
    calls = [flags(run, "--input", tmp_path / f"{n}.txt", "--output", tmp_path / f"{n}.jsonl") for n in sizes]
    peaks = json.loads(last_line(PEAKS, json.dumps(calls), timeout=900))
    for n in sizes:
        with open(tmp_path / f"{n}.jsonl", encoding="utf-8") as file:
            assert all(json.loads(line)["text"] == text(i) for i, line in zip(range(n), file, strict=True))
    return peaks


@pytest.mark.slow
@pytest.mark.promise("P14")
def test_20000_rows_come_out_in_order_and_take_the_memory_of_2000(run, tmp_path):
    _, few, many = peaks_of(run, tmp_path, (2_000, 2_001, 20_000))
    assert many - few < 10


@pytest.mark.long
@pytest.mark.promise("P14")
def test_200000_rows_take_100_megabytes_more_than_10000_at_most(run, tmp_path):
    few, many = peaks_of(run, tmp_path, (10_000, 200_000))
    print(f"peak {few:.0f} MB after 10,000 rows, {many:.0f} MB after 200,000")
    assert many - few < 100


@pytest.mark.promise("P14")
def test_a_killed_infer_leaves_no_file_under_the_final_name(run, tmp_path):
    command = [sys.executable, str(ROOT / "infer.py"), *flags(run, "--output", tmp_path / "out.csv", "--batch_size", 1)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        deadline = time.monotonic() + 60
        is_writing = False
        while not is_writing and time.monotonic() < deadline and process.poll() is None:
            process.stdin.write(b"see you\n" * 64)
            process.stdin.flush()
            is_writing = any(path.stat().st_size > 9000 for path in tmp_path.iterdir())
        process.kill()
    assert is_writing
    assert process.returncode == -9
    left = list(tmp_path.iterdir())
    assert left and not (tmp_path / "out.csv").exists()
    assert all(path.name.startswith(".tmp-out.csv-") for path in left), "where a run that writes there can find it"


@pytest.mark.promise("P14")
@pytest.mark.parametrize("bad", ["\n", "\udcff"])
def test_an_error_after_many_rows_leaves_no_file_and_the_one_before_it_as_it_was(run, tmp_path, bad):
    (tmp_path / "in.txt").write_bytes(("see you\n" * 700 + bad + "x\n").encode("utf-8", "surrogateescape"))
    (tmp_path / "out.tsv").write_text("before")
    argv = flags(run, "--input", tmp_path / "in.txt", "--output", tmp_path / "out.tsv")
    assert "in.txt:701: " in refusal("infer.py", argv, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.txt", "out.tsv"]
    assert (tmp_path / "out.tsv").read_text() == "before"


LONG = {
    "words": "see you at nine ",
    "one word": "x",
    "blanks": "a" + " " * 63,
    "no letters": "-=+*",
    "emoji": "\U0001f600",
}


@pytest.mark.promise("P11")
@pytest.mark.parametrize("kind", LONG)
def test_a_line_of_a_megabyte_is_answered_in_a_second(run, tmp_path, kind):
    (tmp_path / "in.txt").write_text("see you\n" + LONG[kind] * (1_000_000 // len(LONG[kind])) + "\n", encoding="utf-8")
    start = time.process_time()
    code, out, err = call("infer.py", flags(run, "--input", tmp_path / "in.txt"))
    assert code == 0 and len(out.splitlines()) == 2 and "1 texts are longer than 64 tokens" in err
    assert time.process_time() - start < 3


@pytest.mark.slow
@pytest.mark.promise("P11")
@pytest.mark.parametrize("kind", ["words", "one word"])
def test_a_line_of_64_megabytes_takes_a_few_copies_of_itself(run, tmp_path, kind):
    for size in (1, 64):
        (tmp_path / f"{size}.txt").write_text(LONG[kind] * (size * 1_000_000 // len(LONG[kind])) + "\n")
    calls = [flags(run, "--input", tmp_path / f"{n}.txt", "--output", tmp_path / f"{n}.jsonl") for n in (1, 64)]
    small, large = json.loads(last_line(PEAKS, json.dumps(calls)))
    assert large - small < 64 * 8


# Answers that are none


def test_an_answer_that_is_no_number_is_no_answer_and_its_row_is_named(run, tmp_path, monkeypatch):
    plain = classifier.predict

    def damaged(model, batches, rows, place):
        logits = plain(model, batches, rows, place).clone()
        logits[2, 1] = torch.nan
        return logits

    monkeypatch.setattr(classifier, "predict", damaged)
    (tmp_path / "in.txt").write_text("a\nb\nc\nd\n")
    argv = flags(run, "--input", tmp_path / "in.txt", "--output", tmp_path / "out.jsonl")
    assert "in.txt:3: the model's answer is no number" in refusal("infer.py", argv, 6)
    assert not (tmp_path / "out.jsonl").exists()
    assert "text 3: the model's answer is no number" in refusal("infer.py", flags(run, "a", "b", "c"), 6)


@pytest.mark.parametrize(
    ("names", "words"),
    [(["ham", "ham"], "and none twice"), (["ham", "a\nb"], r"label 'a\nb' holds a line break")]
    + [(["ham", "\x1b[31mspam"], r"label '\x1b[31mspam' holds"), (["ham", "\ud800"], r"label '\ud800' holds")],
)
def test_labels_that_no_table_can_hold_are_refused(run, tmp_path, names, words):
    shutil.copytree(run / "adapter", tmp_path / "adapter")
    record = json.loads((tmp_path / "adapter" / "task.json").read_text())
    (tmp_path / "adapter" / "task.json").write_text(json.dumps(record | {"label_names": names}))
    assert words in refusal("infer.py", flags(tmp_path / "adapter", "hi"), 4)


def test_a_text_that_steers_a_terminal_does_not_in_a_table(run):
    code, out, _ = call("infer.py", flags(run, "see\x1b[2J\nyou\x9b31m\u202e", "hello"))
    assert code == 0 and out.count("\n") == 2 and out.replace("\n", "").isprintable()

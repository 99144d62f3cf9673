"""explain.py: one file of a run, its numbers, and one line where it cannot."""

import json
from pathlib import Path

import pytest

import explain
import train
from tests.drawing import reports
from training.errors import run_door
from training.settings import parse


@pytest.fixture(scope="module")
def runs(tiny_base, messages_file, tmp_path_factory) -> Path:
    """A directory with a run of LoRA that kept snapshots, one of full fine-tuning, and a writer's."""
    directory = tmp_path_factory.mktemp("runs")
    common = {"model": str(tiny_base), "dataset": str(messages_file), "device": "cpu", "precision": "fp32"}
    common |= {"max_steps": 4, "per_device_train_batch_size": 8}
    kinds = {"lora": {"snapshots": 2}, "full": {"train": "full"}, "writer": {"task": "language", "snapshots": 2}}
    for name, changes in kinds.items():
        train.main(train.TrainConfig(**(common | changes), output_dir=str(directory / name)))
    return directory


@pytest.fixture
def door(capsys):
    """door(flags): (exit code, what is printed, what is said on stderr)."""
    capsys.readouterr()

    def run(*flags):
        argv = [*map(str, flags), "--device", "cpu"]
        code = run_door(
            lambda: explain.main(parse(explain.ExplainConfig, argv, prog="explain.py", description="")), lighter=""
        )
        return code, *capsys.readouterr()

    return run


def test_it_writes_one_file_into_the_run(door, runs):
    code, out, _ = door(runs / "lora", "--text", "free entry in our ten prize draw", "--full", runs / "full")
    page = (runs / "lora" / "report.html").read_text(encoding="utf-8")
    assert code == 0 and out == f"written to {runs / 'lora' / 'report.html'}: open it in a browser\n"
    for name in ("curves", "gradients", "map", "spectra", "confusions", "length", "thresholds", "reliability", "text",
                 "memory"):  # fmt: skip
        assert f'<section id="{name}">' in page, name
    assert "LoRA&#x27;s update" in page and len(page.encode()) < 2_000_000


def test_of_a_writer_it_shows_nats_and_samples(door, runs, tmp_path):
    code, _, _ = door(runs / "writer", "--text", "see you at ten", "--output", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert code == 0 and not (runs / "writer" / "report.html").exists()
    for name in ("curves", "kinds", "samples", "text"):
        assert f'<section id="{name}">' in page, name


def test_plain_prints_the_same_numbers_and_writes_nothing(door, runs, tmp_path):
    before = sorted(runs.rglob("*"))
    code, out, _ = door(runs / "full", "--plain", "--json", tmp_path / "numbers.json")
    assert code == 0 and sorted(runs.rglob("*")) == before
    found = json.loads((tmp_path / "numbers.json").read_text(encoding="utf-8"))
    right = found["evaluation"]["after"]["accuracy"] * found["evaluation"]["after"]["rows"]
    assert f"The tuned model has {round(right)} of " in out and "\nhow" not in out
    assert "Right and wrong\n---------------\n" in out


def test_the_same_run_gives_the_same_bytes(door, runs, tmp_path):
    for name in ("a.html", "b.html"):
        assert door(runs / "lora", "--output", tmp_path / name)[0] == 0
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


@pytest.mark.parametrize(
    "flags, code, told",
    [
        ([], 2, "required: RUN"),
        (["one", "two"], 2, "two"),
        (["{lora}", "--plain", "--output", "x.html"], 2, "--plain prints tables"),
        (["{lora}", "--text", "  "], 2, "--text: is empty"),
        (["{lora}", "--output", "{lora}/adapter"], 2, "--output {lora}/adapter: is a directory"),
        (["{lora}", "--json", "{lora}/adapter"], 2, "--json {lora}/adapter: is a directory"),
        (["{lora}", "--output", "x", "--json", "./x"], 2, "--json ./x: is the file that takes the page"),
        (["{lora}", "--json", "{lora}/report.html"], 2, "report.html: is the file that takes the page"),
        (["{lora}/nowhere"], 4, "nowhere"),
        (["{lora}", "--output", "{lora}/results.json/page.html"], 5, "results.json"),
    ],
)
def test_what_cannot_be_shown_is_one_line(door, runs, flags, code, told):
    *flags, told = (words.format(lora=runs / "lora") for words in (*flags, told))
    found, out, err = door(*flags)
    assert found == code and err.splitlines()[-1].startswith("error: ") and told in err.splitlines()[-1]
    assert out == "" and "Traceback" not in err


def test_a_run_that_cannot_stand_beside_it_is_told_and_left_out(door, runs, tmp_path):
    code, _, err = door(runs / "lora", "--full", runs / "writer", "--output", tmp_path / "page.html")
    assert code == 0 and err.startswith("--full ") and err.count("\n") == 1
    assert "did not train whole weights" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_what_is_missing_is_told_on_stderr_and_on_the_page(door, monkeypatch, tmp_path):
    def report(*args):
        args[3]("no snapshots <here>")
        return reports.classifier()

    monkeypatch.setattr(explain, "report", report)
    code, _, err = door("a run", "--output", tmp_path / "page.html")
    assert code == 0 and err == "no snapshots <here>\n"
    assert "no snapshots &lt;here&gt;" in (tmp_path / "page.html").read_text(encoding="utf-8")

"""What goes wrong during a run: one line, an exit code, nothing half written, and the run before it untouched."""

import errno
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from safetensors import SafetensorError
from safetensors.torch import load_file

import train
from tasks.classification import Classification
from training.errors import run_door

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def settings(tiny_base, messages_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return {
        "model": str(tiny_base), "dataset": str(messages_file), "learning_rate": 1e-2, "max_steps": 4,
        "per_device_train_batch_size": 8, "device": "cpu", "precision": "fp32", "output_dir": "run",
        "save_strategy": "steps", "save_steps": 1, "save_total_limit": 99,
    }  # fmt: skip


def door(settings, **changes):
    return run_door(lambda: train.main(train.TrainConfig(**(settings | changes))))


def one_line(capsys):
    message = capsys.readouterr().err
    assert message.startswith("error: ") and message.count("\n") == 1
    return message


def half_written(directory):
    return [p for p in directory.rglob("*") if p.name.startswith(".tmp-")]


@pytest.mark.parametrize("kind", ["lora", "head", "full"])
@pytest.mark.parametrize(("steps", "words"), [(1, "after step 1"), (4, "step 2: loss nan, gradient norm nan: no ")])
def test_a_loss_that_is_no_number_stops_the_run_and_nothing_is_saved_of_it(
    settings, tmp_path, capsys, kind, steps, words
):
    # One step at this rate ends in huge or infinite weights; saving, the evaluation or the next step finds them.
    changes = {"learning_rate": 1e30, "max_grad_norm": 0.0, "train": kind, "max_steps": steps, "save_strategy": "no"}
    if kind == "head":
        changes["learning_rate"] = 1e38
    assert door(settings, **changes) == 6
    assert words in one_line(capsys)
    left = {p.name for p in (tmp_path / "run").iterdir()} - {".lock", ".run", "checkpoints"}
    assert left == {"config.toml", "metrics.jsonl", "status.json"}
    assert "NaN" not in (tmp_path / "run" / "metrics.jsonl").read_text()
    for file in (tmp_path / "run").rglob("*.safetensors"):
        assert all(tensor.isfinite().all() for tensor in load_file(file).values())
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert (status["status"], status["exit_code"]) == ("failed", 6) and words in status["message"]


def test_a_loss_that_is_no_number_leaves_the_checkpoints_before_it(settings, tmp_path, capsys, monkeypatch):
    plain, rates = train.set_learning_rate, []

    def wild_at_the_third(optimizer, rate):
        rates.append(rate)
        plain(optimizer, 1e38 if len(rates) == 3 else rate)

    monkeypatch.setattr(train, "set_learning_rate", wild_at_the_third)
    assert door(settings, eval_strategy="no", max_grad_norm=0.0, save_steps=2) == 6
    assert "lower --learning_rate" in one_line(capsys)
    assert [p.name for p in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-000002"]
    assert not half_written(tmp_path) and not (tmp_path / "run" / "adapter").exists()


def test_a_damaged_newest_checkpoint_is_passed_over_and_the_run_ends_the_same(settings, tmp_path, capsys):
    assert door(settings) == 0
    adapter = tmp_path / "run" / "adapter" / "adapter_model.safetensors"
    whole = adapter.read_bytes()
    newest = tmp_path / "run" / "checkpoints" / "step-000004" / "optimizer.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1] + b"\x77")
    adapter.unlink()
    capsys.readouterr()
    assert run_door(lambda: train.main(train.read_settings(["--resume_from_checkpoint", "run"]))) == 0
    out = capsys.readouterr().out
    assert "passed over" in out and "optimizer.safetensors: damaged" in out and "going on after step 3" in out
    assert adapter.read_bytes() == whole


def test_a_damaged_checkpoint_named_by_its_path_is_refused(settings, tmp_path, capsys):
    assert door(settings) == 0
    file = tmp_path / "run" / "checkpoints" / "step-000004" / "state.json"
    file.write_text(file.read_text().replace('"step": 4', '"step": 3'))
    capsys.readouterr()
    assert door(settings, resume_from_checkpoint="run/checkpoints/step-000004") == 4
    assert "state.json: damaged" in one_line(capsys)


def started_at_once(settings):
    """The exit codes of two runs in this process that both stand at the door before either goes in."""
    gate, codes, plain = threading.Barrier(2), [], train.open_run_directory

    def both(*args):
        gate.wait(timeout=60)
        return plain(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "open_run_directory", both)
        runs = [threading.Thread(target=lambda: codes.append(door(settings))) for _ in range(2)]
        for run in runs:
            run.start()
        for run in runs:
            run.join()
    return sorted(codes)


def test_two_runs_started_at_once_get_a_name_each(settings, tmp_path):
    assert started_at_once(settings | {"output_dir": None}) == [0, 0]
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == ["tiny", "tiny-2"]
    assert all((p / "results.json").is_file() for p in (tmp_path / "runs").iterdir())


def test_of_two_runs_started_at_once_into_one_directory_one_is_refused(settings, tmp_path, capsys):
    assert started_at_once(settings) == [0, 2]
    assert "run: " in capsys.readouterr().err
    assert (tmp_path / "run" / "results.json").is_file() and not half_written(tmp_path)


def test_a_run_in_another_process_is_not_disturbed(settings, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    hold = "import sys; from pathlib import Path; from training.run import locked\n"
    hold += "with locked(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(tmp_path / "run")], stdin=-1, stdout=-1, cwd=ROOT, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        assert door(settings, overwrite=True) == 2
        assert "another run is writing there" in one_line(capsys)
        other.stdin.close()


@pytest.mark.parametrize(("output_dir", "code"), [("locked/run", 2), ("locked", 5), (None, 5)])
def test_a_directory_that_cannot_be_written_is_named(settings, tmp_path, capsys, output_dir, code):
    place = tmp_path / ("locked" if output_dir else "runs")
    place.mkdir()
    place.chmod(0o500)
    if os.access(place, os.W_OK):
        pytest.skip("this user may write everywhere")
    assert door(settings, output_dir=output_dir) == code
    message = one_line(capsys)
    assert place.name in message and "ermission denied" in message
    place.chmod(0o700)


@pytest.mark.promise("P9")
def test_a_full_disk_is_told_with_the_last_whole_checkpoint_and_the_run_before_is_whole(
    settings, tmp_path, capsys, monkeypatch
):
    assert door(settings) == 0
    before = {p: p.read_bytes() for p in (tmp_path / "run" / "adapter").iterdir()}

    def full(tensors, path):
        raise SafetensorError(f"Error while serializing: I/O error: No space left on device (os error {errno.ENOSPC})")

    monkeypatch.setattr("training.checkpoint.save_file", full)
    capsys.readouterr()
    assert door(settings, resume_from_checkpoint="run/checkpoints/step-000002") == 5
    words = "the disk is full; the last whole checkpoint is run/checkpoints/step-000002"
    message = one_line(capsys)
    assert "step-000003" in message and words in message
    assert {p: p.read_bytes() for p in (tmp_path / "run" / "adapter").iterdir()} == before
    assert not half_written(tmp_path)
    assert json.loads((tmp_path / "run" / "status.json").read_text())["exit_code"] == 5


@pytest.mark.promise("P9")
def test_too_little_room_is_told_before_training(settings, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("training.run.free_bytes", lambda directory: 100_000)
    assert door(settings) == 5
    assert "run: 0 MB are free; two checkpoints of 0 MB must fit" in one_line(capsys)
    assert not (tmp_path / "run" / "checkpoints").exists()
    monkeypatch.setattr("training.run.free_bytes", lambda directory: 1_000_000)
    assert door(settings, overwrite=True) == 0
    assert "with --save_total_limit 99 the checkpoints may take" in capsys.readouterr().out


def test_a_lost_best_checkpoint_is_told_and_the_run_ends_all_the_same(settings, tmp_path, capsys):
    """At this rate the held-out loss rises again: the best step is not the last."""
    rising = {"eval_strategy": "steps", "eval_steps": 1, "learning_rate": 0.5, "max_grad_norm": 0.0}
    assert door(settings, **rising) == 0
    best = json.loads((tmp_path / "run" / "results.json").read_text())["best_step"]
    assert best < 4
    for file in (tmp_path / "run" / "checkpoints" / f"step-{best:06d}").iterdir():
        file.write_bytes(b"")
    capsys.readouterr()
    assert run_door(lambda: train.main(train.read_settings(["--resume_from_checkpoint", "run"]))) == 0
    out = capsys.readouterr().out
    assert "the best checkpoint so far is lost" in out and f"step-{best:06d}" in out
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["kept_step"] == results["best_step"] == 4


@pytest.mark.promise("P7")
@pytest.mark.parametrize(("nth", "when"), [(1, "before"), (2, "after")])
def test_a_test_loss_that_is_no_number_is_told_and_stands_in_no_file(
    settings, tmp_path, capsys, monkeypatch, nth, when
):
    plain, asked = Classification.scores, []

    def none_at_last(task, part, *args):
        asked.extend([part] * (part == "test"))
        return plain(task, part, *args) | ({"loss": float("nan")} if part == "test" and len(asked) == nth else {})

    monkeypatch.setattr(Classification, "scores", none_at_last)
    assert door(settings) == 6
    assert f"test loss {when} training is nan" in one_line(capsys)
    assert not (tmp_path / "run" / "results.json").exists() and not (tmp_path / "run" / "adapter").exists()

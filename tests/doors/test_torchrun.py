"""Two processes under torchrun: the numbers of one, each row once, one voice, one writer, and a common end."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import train
from training.distributed import run_together
from training.errors import NonFiniteError, UsageError, run_door

ROOT = Path(__file__).resolve().parent.parent.parent
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]


def start(cwd, *command) -> subprocess.Popen:
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    return subprocess.Popen([*TORCHRUN, *map(str, command)], cwd=cwd, env=env, **pipes)


def run_entries(cwd, *entries) -> tuple[int, str, str]:
    """Exit code of torchrun, and what all ranks wrote on stdout and stderr."""
    (cwd / "entries.json").write_text(json.dumps(entries))
    process = start(cwd, __file__, "entries.json")
    return finish(process)


def finish(process: subprocess.Popen) -> tuple[int, str, str]:
    try:
        out, err = process.communicate(timeout=150)
    except subprocess.TimeoutExpired:
        process.terminate()  # torchrun ends its processes
        raise
    return process.returncode, out, err


def metrics(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def base(tiny_base, tmp_path_factory) -> Path:
    """The tiny base without dropout."""
    directory = tmp_path_factory.mktemp("no-dropout") / "base"
    shutil.copytree(tiny_base, directory)
    config = json.loads((directory / "config.json").read_text())
    config |= {"attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0}
    (directory / "config.json").write_text(json.dumps(config))
    return directory


@pytest.fixture(scope="module")
def common(base, messages_file) -> dict:
    """Settings in which 41 rows are trained on: in float64, without dropout, every gradient clipped."""
    settings = {"model": str(base), "dataset": str(messages_file), "split": "random", "val_size": 0.18}
    settings |= {"device": "cpu", "precision": "fp32", "lora_dropout": 0.0, "learning_rate": 1e-2, "warmup_steps": 2}
    return settings | {"gradient_accumulation_steps": 2, "num_train_epochs": 2, "max_grad_norm": 0.05}


@pytest.fixture(scope="module")
def runs(common, tiny_base, tmp_path_factory) -> Path:
    """Runs of two processes: `uneven` and `idle` to be compared with one, `whole` with dropout to be resumed."""
    cwd = tmp_path_factory.mktemp("runs")
    entries = [common | settings | {"double": True, "output_dir": name} for name, settings in TWO.items()]
    whole = common | {"model": str(tiny_base), "lora_dropout": 0.1, "output_dir": "whole", "save_total_limit": 9}
    entries.append(whole | {"per_device_train_batch_size": 4, "save_strategy": "steps", "save_steps": 1})
    entries.append(entries[-1] | {"copy": True, "resume_from_checkpoint": "copy/checkpoints/step-000002"})
    code, _, err = run_entries(cwd, *entries)
    assert code == 0, err
    return cwd


# Rows of a step: 16, 16 and 9, so that at the end rank 0 has two micro-batches and rank 1 one; or 40 and 1, so that
# rank 1 has none. Evaluation batches of 5 rows; or one of all rows, so that rank 1 has none.
TWO = {
    "uneven": {"per_device_train_batch_size": 4, "per_device_eval_batch_size": 5},
    "idle": {"per_device_train_batch_size": 10, "per_device_eval_batch_size": 64},
}


@pytest.mark.parametrize("name", TWO)
def test_two_processes_compute_what_one_computes(runs, common, tmp_path, monkeypatch, name):
    use_float64(monkeypatch.setattr)
    settings = common | TWO[name] | {"output_dir": str(tmp_path / "one")}
    settings["per_device_train_batch_size"] *= 2
    one, two = train.main(train.TrainConfig(**settings)), json.loads((runs / name / "results.json").read_text())
    assert (one["world_size"], two["world_size"]) == (1, 2)
    lines = list(zip(metrics(tmp_path / "one"), metrics(runs / name), strict=True))
    for a, b in lines:
        if "grad_norm" in a:
            assert a == pytest.approx(b, abs=1e-12, rel=0), "loss, learning rate, norm before clipping"
    evaluations = [(a, b) for a, b in lines if "rows" in a] + [(one[when], two[when]) for when in ("before", "after")]
    assert len(evaluations) == 4
    for a, b in evaluations:
        assert a["rows"] == b["rows"] and a["confusion_matrix"] == b["confusion_matrix"]
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-7), "scored in float32"
    a, b = (load_file(run / "adapter" / "adapter_model.safetensors") for run in (tmp_path / "one", runs / name))
    assert a.keys() == b.keys()
    assert max((a[key] - b[key]).abs().max().item() for key in a) <= 1e-12


def test_two_processes_resumed_end_with_the_same_bytes(runs):
    """`copy` is `whole` up to step 2, in the middle of an epoch, taken up by two processes; dropout is on."""
    whole, copy = (runs / name / "adapter" / "adapter_model.safetensors" for name in ("whole", "copy"))
    assert whole.read_bytes() == copy.read_bytes()
    assert [line["step"] for line in metrics(runs / "copy") if "grad_norm" in line] == [1, 2, 3, 4, 5, 6]


def test_each_process_draws_its_own_dropout(runs):
    streams = [load_file(runs / "whole" / "checkpoints" / "step-000001" / f"{n}.safetensors") for n in ("rng", "rng-1")]
    assert not torch.equal(streams[0]["cpu"], streams[1]["cpu"])


def test_another_number_of_processes_cannot_go_on(runs, monkeypatch):
    monkeypatch.chdir(runs)
    with pytest.raises(UsageError, match=r"the number of processes \(it was 2\)"):
        train.main(train.read_settings(["--resume_from_checkpoint", "whole"]))


def test_an_error_on_one_rank_is_told_once_and_ends_both(common, tmp_path):
    code, _, err = run_entries(tmp_path, common | {"output_dir": "run", "per_device_train_batch_size": 4, "fail": True})
    assert code != 0
    told = [line for line in err.splitlines() if line.startswith("error:")]
    assert len(told) == 1 and told[0].startswith("error: step 2: rank 1 met no number; its rows: ")
    assert err.count("Traceback") <= 1, "torchrun's own"


def test_a_signal_to_one_rank_stops_both_after_that_step_and_one_saves_and_speaks(common, tmp_path):
    settings = {"output_dir": "run", "per_device_train_batch_size": 4}  # the end of an epoch, when all save, is step 3
    code, out, err = run_entries(tmp_path, common | settings | {"stop": True})
    assert code != 0
    check_stopped(tmp_path / "run", 2, out, err)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_torchrun_stops_both(common, tmp_path, number):
    flags = [f"--{name}={value}" for name, value in common.items()]
    process = start(tmp_path, ROOT / "train.py", *flags, "--max_steps=100000", "--output_dir=run", "--eval_strategy=no")
    log = tmp_path / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while process.poll() is None and not (log.exists() and log.read_text().count("\n") > 2):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.killpg(process.pid, number)  # as a terminal does it
    code, out, err = finish(process)
    assert code != 0
    check_stopped(tmp_path / "run", metrics(tmp_path / "run")[-1]["step"], out, err)


def check_stopped(run: Path, step: int, out: str, err: str) -> None:
    advice = f"stopped after step {step}; go on with: torchrun --nproc_per_node 2 train.py --resume_from_checkpoint run"
    assert err.count(advice) == 1 and err.count("stopped") == 1
    assert out.count("writing to") == out.count("trainable params") == 1
    assert metrics(run)[-1]["step"] == step
    saved = {path.name for path in (run / "checkpoints" / f"step-{step:06d}").iterdir()}
    assert saved >= {"rng.safetensors", "rng-1.safetensors"}


def use_float64(patch) -> None:
    plain = train.build_model

    def build_model(*args):
        model, fingerprint = plain(*args)
        return model.double(), fingerprint

    patch(train, "build_model", build_model)


def fail() -> None:
    raise NonFiniteError("rank 1 met no number")


def stop() -> None:
    signal.raise_signal(signal.SIGTERM)


def in_the_second_step_of_rank_1(act) -> None:
    plain, steps = train.train_step, []

    def train_step(*args):
        steps.append(None)
        if os.environ["RANK"] == "1" and len(steps) == 2:
            act()
        return plain(*args)

    train.train_step = train_step


def main() -> None:
    """What torchrun starts here: train.main for each entry of a JSON file."""
    warnings.simplefilter("error")
    for entry in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
        plain = train.build_model, train.train_step
        if entry.pop("double", False):
            use_float64(setattr)
        for act in (fail, stop):
            if entry.pop(act.__name__, False):
                in_the_second_step_of_rank_1(act)
        if entry.pop("copy", False):
            if os.environ["RANK"] == "0":
                shutil.copytree("whole", "copy")
            torch.distributed.barrier()
        train.main(train.TrainConfig(**entry))
        train.build_model, train.train_step = plain


if __name__ == "__main__":
    sys.exit(run_door(lambda: run_together(lambda _: main(), train.TrainConfig)))

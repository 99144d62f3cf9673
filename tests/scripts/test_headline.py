"""scripts/headline.py and scripts/draw_bugs.py: the experiments behind chapters 10 and 9, on budgets of seconds."""

import dataclasses
import importlib
import signal
import sys
from pathlib import Path

import pytest

import train
from tasks.classification import Classification
from training.device import choose_place
from training.errors import Stopped, UsageError

ROOT = Path(__file__).resolve().parents[2]
ARMS = ["head only", "LoRA", "full fine-tuning"]


@pytest.fixture(autouse=True)
def scripts_on_the_path(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))


@pytest.fixture
def headline():
    pytest.importorskip("sklearn", reason="needs pip install -r requirements-extras.txt")
    pytest.importorskip("matplotlib", reason="needs pip install -r requirements-extras.txt")
    return importlib.import_module("headline")


@pytest.fixture
def config(headline, tiny_base, messages_file, tmp_path):
    return headline.HeadlineConfig(
        model=str(tiny_base), dataset=str(messages_file), seeds=(0,), max_steps=3, output_dir=str(tmp_path)
    )


@pytest.fixture
def started(monkeypatch) -> list[str]:
    """The runs that train.py was asked for, by the name of their directory."""
    names, real = [], train.main

    def noted(config):
        names.append(Path(config.output_dir).name)
        return real(config)

    monkeypatch.setattr(train, "main", noted)
    return names


@pytest.fixture
def three_arms(headline, monkeypatch):
    monkeypatch.setattr(headline, "ARMS", headline.ARMS[::2])


def test_the_table_has_every_arm_at_both_its_rates_and_every_baseline(headline, config, tmp_path, capsys):
    headline.main(config)
    table = (tmp_path / "headline.md").read_text(encoding="utf-8")
    firsts = [tuple(cell.strip() for cell in line.split("|")[1:3]) for line in table.splitlines()[2:-2]]
    assert [name for name, rate in firsts if rate] == [name for name in ARMS for _ in range(2)]
    assert [rate for _, rate in firsts if rate] == ["2e-05", "0.001", "2e-05", "0.001", "2e-05", "0.0002"]
    assert [name for name, rate in firsts if not rate] == [
        "majority", "digits regex", "naive bayes", "linear SVM"
    ]  # fmt: skip
    assert len({line.count("|") for line in table.splitlines()[:-2]}) == 1, "every line has the same columns"
    printed = capsys.readouterr().out
    assert table.strip() in printed and "[ 6/6] full fine-tuning at 0.0002, seed 0" in printed
    assert "<svg" in (tmp_path / "headline.svg").read_text(encoding="utf-8")


def test_the_interval_is_wilsons_of_the_mean_on_one_set_of_test_rows(headline):
    """By hand: 17 of 20 right, z 1.96: centre (0.85 + 0.09604) / 1.19208, half 1.64418 sqrt(0.006375 + 0.002401)."""
    scores = [{"accuracy": a, "recall": r, "f1": 0.5, "rows": 20} for a, r in ((0.9, 0.5), (0.8, 0.25))]
    line = headline.row("LoRA", "0.001", scores, "0.100")
    assert line == "| LoRA | 0.001 | 85.00 % | 63.96 to 94.76 % | 90.00, 80.00 | 0.375 | 0.500 | 0.100 |"


@pytest.mark.usefixtures("three_arms")
def test_a_stopped_experiment_goes_on_where_it_was_stopped(headline, config, started, monkeypatch):
    noted = train.main

    def stop_in_the_third(run):
        if len(started) == 2:
            raise Stopped("stopped after step 1", signal.SIGINT)
        return noted(run)

    monkeypatch.setattr(train, "main", stop_in_the_third)
    with pytest.raises(Stopped, match="full-lr2e-05-seed0 was stopped; the same command") as stopped:
        headline.main(config)
    assert stopped.value.exit_code == 130
    monkeypatch.setattr(train, "main", noted)
    headline.main(config)
    assert started[:2] == ["head-lr2e-05-seed0", "lora-lr2e-05-seed0"] and len(started) == len(set(started)) == 3


@pytest.mark.usefixtures("three_arms")
def test_finished_runs_are_read_and_overwrite_trains_them_again(headline, config, started, tmp_path):
    headline.main(config)
    first = (tmp_path / "headline.md").read_bytes()
    headline.main(config)
    assert len(started) == 3 and (tmp_path / "headline.md").read_bytes() == first
    headline.main(dataclasses.replace(config, overwrite=True))
    assert len(started) == 6 and (tmp_path / "headline.md").read_bytes() == first


@pytest.mark.usefixtures("three_arms")
def test_runs_of_another_experiment_are_not_taken_for_its_own(headline, config, started):
    headline.main(config)
    with pytest.raises(UsageError, match="seed0: holds a run with another max_steps; give another --output_dir"):
        headline.main(dataclasses.replace(config, max_steps=4))
    assert len(started) == 3


@pytest.mark.parametrize(("missing", "what"), [("sklearn.svm", "scikit-learn"), ("matplotlib", "matplotlib")])
def test_a_missing_extra_is_told_in_one_line_before_anything_is_trained(
    headline, config, started, monkeypatch, missing, what
):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(UsageError, match=f"needs {what}: pip install -r requirements-extras.txt"):
        headline.main(config)
    assert not started


@pytest.fixture
def bugs(monkeypatch, tiny_base, messages_file):
    """draw_bugs on a base and a file of messages of a few kilobytes."""
    pytest.importorskip("matplotlib", reason="needs pip install -r requirements-extras.txt")
    module = importlib.import_module("draw_bugs")
    monkeypatch.setattr(module, "MODEL", str(tiny_base))
    monkeypatch.setattr(module, "DATASET", str(messages_file))
    return module


def test_every_bug_gets_its_line_and_its_panel(bugs, tmp_path, capsys):
    config = bugs.BugsConfig(steps=2, batch_size=4, accumulation=2, output=str(tmp_path / "bugs.svg"))
    bugs.main(config)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:-1]] == [bugs.NONE, *bugs.BUGS]
    assert "<svg" in (tmp_path / "bugs.svg").read_text(encoding="utf-8")


def test_but_for_its_bug_the_loop_takes_the_steps_of_train_py(bugs):
    """Without dropout, which draws masks of its own: losses, norms and with them the weights between the steps."""
    task, place = bugs.task_of(bugs.MODEL, bugs.DATASET), choose_place("cpu", "fp32")
    config = bugs.BugsConfig(steps=4, batch_size=4, accumulation=2)
    run = bugs.train_with(bugs.LEFT_IN_EVAL, task, config, place)
    model, _ = train.build_model(train.recipe("tiny", seed=42), Path(bugs.MODEL), Classification(task))
    optimizer = train.build_optimizer(model, 1e-3, 0.01)
    for step in range(4):
        train.set_learning_rate(optimizer, 1e-3 * (4 - step) / 4)
        batches = task.micro_batches(bugs.rows_of(step, 8, task, 42), 4)
        loss, norm, _ = train.train_step(model.eval(), optimizer, place.grad_scaler(), batches, place, 1.0)
        assert (run.losses[step], run.norms[step]) == pytest.approx((loss, norm), rel=1e-3), f"step {step}"


def test_each_bug_does_what_its_name_says(bugs):
    task, place = bugs.task_of(bugs.MODEL, bugs.DATASET), choose_place("cpu", "fp32")
    config = bugs.BugsConfig(steps=4, batch_size=4, accumulation=2)
    runs = {bug: bugs.train_with(bug, task, config, place) for bug in (bugs.NONE, *bugs.BUGS)}
    right = runs[bugs.NONE]
    assert runs[bugs.SUMMED].losses[0] == pytest.approx(2 * right.losses[0], rel=1e-5)
    assert runs[bugs.CLIPPED_SCALED].norms[0] > 1000 * right.norms[0]
    nothing = bugs.train_with(bugs.NONE, task, dataclasses.replace(config, learning_rate=0.0), place)
    assert runs[bugs.EARLY_OPTIMIZER].scores == nothing.scores != right.scores
    # The first step is the same; the second one's gradient holds the first one's too, which was clipped to a norm of 1.
    assert 0.01 < abs(runs[bugs.NOT_CLEARED].norms[1] - right.norms[1]) < 1.001

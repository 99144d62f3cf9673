"""A run is taken up again: what may change, what is put aside, and that nothing is fetched for a name in its file."""

import itertools
import json
import shlex
import shutil
import signal

import pytest

import train
from tasks.classification import Classification
from training.checkpoint import _sha256
from training.errors import Stopped, UsageError, run_door

ADAPTER = "adapter/adapter_model.safetensors"


@pytest.fixture
def flags(tiny_base, messages_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return [
        f"--model={tiny_base}", f"--dataset={messages_file}", "--learning_rate=1e-2", "--max_steps=4", "--device=cpu",
        "--per_device_train_batch_size=8", "--precision=fp32", "--save_strategy=steps", "--save_steps=1",
        "--save_total_limit=9", "--output_dir=run",
    ]  # fmt: skip


def start(*argv):
    return train.main(train.read_settings(list(argv)))


def again(where="run", *argv):
    return start("--resume_from_checkpoint", where, *argv)


def steps(directory):
    return sorted(path.name for path in directory.iterdir())


@pytest.mark.promise("P2")
def test_from_an_older_checkpoint_the_later_ones_are_put_aside_and_the_end_is_the_same(flags, tmp_path, capsys):
    start(*flags)
    whole, root = (tmp_path / "run" / ADAPTER).read_bytes(), tmp_path / "run" / "checkpoints"
    (root / "step-000003" / "rng.safetensors").unlink()
    again("run/checkpoints/step-000002")
    out = capsys.readouterr().out
    for step in (3, 4):
        assert f"later than that, and put aside: run/checkpoints/aside/step-00000{step}" in out
    assert "what stood there of later steps is now in run/checkpoints/aside/metrics-after-000002.jsonl" in out
    assert (tmp_path / "run" / ADAPTER).read_bytes() == whole
    assert steps(root / "aside") == ["metrics-after-000002.jsonl", "step-000003", "step-000004"]
    assert steps(root) == ["aside", *(f"step-00000{step}" for step in (1, 2, 3, 4))]


@pytest.mark.promise("P1")
def test_a_damaged_checkpoint_is_named_and_put_aside_so_that_it_pushes_no_whole_one_out(flags, tmp_path, capsys):
    start(*flags, "--save_total_limit=1", "--load_best_model_at_end=false")
    root = tmp_path / "run" / "checkpoints"
    shutil.copytree(root / "step-000004", root / "step-000009")
    (root / "step-000009" / "state.json").write_text("{}")
    again()
    assert "passed over: run/checkpoints/step-000009/state.json: damaged" in capsys.readouterr().out
    assert steps(root) == ["aside", "step-000004"] and steps(root / "aside") == ["step-000009"]


@pytest.mark.parametrize("name", ["nowhere", "9" * 300, "a/" * 40])
def test_a_run_that_is_not_there_is_told(flags, name):
    with pytest.raises(UsageError, match="no run there .a run has a config.toml."):
        again(name)


def test_a_run_without_a_checkpoint_begins_at_its_beginning(flags, tmp_path, capsys):
    start(*flags)
    whole = (tmp_path / "run" / ADAPTER).read_bytes()
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    (tmp_path / "run" / ADAPTER).unlink()
    again()
    assert "run: no checkpoint in it yet; starting at the beginning" in capsys.readouterr().out
    assert (tmp_path / "run" / ADAPTER).read_bytes() == whole


@pytest.mark.parametrize("flag", [["--output_dir", "other"], ["--overwrite"], ["--preset", "tiny"]])
def test_a_flag_that_would_be_ignored_is_refused(flags, flag):
    start(*flags, "--max_steps=1")
    with pytest.raises(UsageError, match=f"{flag[0]}: a run that goes on has its own; leave it out"):
        again("run", *flag)


def test_what_may_change_is_listed_and_what_changes_the_mathematics_is_refused_by_name(flags, tmp_path, capsys):
    start(*flags)
    capsys.readouterr()
    again("run", "--per_device_eval_batch_size=5", "--save_steps=2", "--logging_steps=1")
    out = capsys.readouterr().out
    assert "changed since then: --per_device_eval_batch_size is 5, it was 64" in out
    assert "changed since then: --save_steps is 2, it was 1" in out
    before = (tmp_path / "run" / "config.toml").read_text()
    assert "per_device_eval_batch_size = 5" in before, "the next time that is what it was"
    with pytest.raises(
        UsageError, match=r"change of --lora_alpha \(it was [\d.]+\), --seed \(it was 42\); start a new"
    ):
        again("run", "--seed=1", "--lora_alpha=7")
    assert (tmp_path / "run" / "config.toml").read_text() == before
    assert json.loads((tmp_path / "run" / "status.json").read_text())["status"] == "finished"


def test_a_setting_that_an_older_run_did_not_have_is_taken_as_its_default(flags, tmp_path):
    start(*flags)
    config = tmp_path / "run" / "config.toml"
    lines = [line for line in config.read_text().splitlines() if not line.startswith(("ddp_timeout", "use_rslora"))]
    config.write_text("\n".join(lines) + "\n")
    state = tmp_path / "run" / "checkpoints" / "step-000004" / "state.json"
    values = json.loads(state.read_text())
    del values["config"]["use_rslora"], values["format"], values["state"]["unscored"]
    rewrite(state, values)
    again()
    values["config"]["learning_rate"] = 0.5
    rewrite(state, values)
    with pytest.raises(UsageError, match=r"--learning_rate \(it was 0.5\)"):
        again()


def rewrite(state, values):
    """state.json with other values, and a manifest that agrees."""
    state.write_text(json.dumps(values))
    manifest = state.with_name("MANIFEST.json")
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"state.json": _sha256(state)}))


@pytest.mark.parametrize("name", ["checkpoints/mine", "my run; it's {mine}", "checkpoints/step-000001"])
def test_a_run_of_any_name_can_be_taken_up_and_the_command_for_it_can_be_pasted(flags, monkeypatch, name):
    plain, calls = train.train_step, []

    def interrupted(*args):
        calls.append(None)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGTERM)
        return plain(*args)

    monkeypatch.setattr(train, "train_step", interrupted)
    with pytest.raises(Stopped) as stopped:
        start(*flags[:-1], f"--output_dir={name}")
    command = shlex.split(str(stopped.value).partition("go on with: ")[2])
    assert command[:2] == ["python", "train.py"] and command[2:] == ["--resume_from_checkpoint", name]
    assert start(*command[2:])["steps"] == 4


@pytest.mark.promise("P10")
@pytest.mark.parametrize(
    ("name", "value"), [("dataset", "nobody/rows"), ("model", "nobody/gpt2"), ("also_test", "nobody/more")]
)
def test_for_a_name_in_a_run_s_file_nothing_is_fetched_unless_it_is_typed(flags, tmp_path, capsys, name, value):
    start(*flags, "--max_steps=1")
    config = tmp_path / "run" / "config.toml"
    lines = [line for line in config.read_text().splitlines() if not line.startswith(f"{name} =")]
    config.write_text("\n".join([*lines, f'{name} = "{value}"', ""]))
    capsys.readouterr()
    assert run_door(again) == 2
    err = capsys.readouterr().err
    assert f"the run's {name}, {value}, is not on this machine" in err and f"type --{name} {value}" in err
    typed = train.read_settings(["--resume_from_checkpoint", "run", f"--{name}", value])
    assert getattr(typed, name) == value and f"--{name} {value}" in train.retyped(typed)


def test_the_table_and_the_card_speak_of_the_weights_that_the_run_has_ended_with(flags, tmp_path, capsys, monkeypatch):
    plain, told = Classification.scores, itertools.count(1)

    def worse_and_worse(task, part, *args):
        scores = plain(task, part, *args)
        return scores | ({"loss": float(next(told))} if part == "val" else {})

    monkeypatch.setattr(Classification, "scores", worse_and_worse)
    often = ["--eval_strategy=steps", "--eval_steps=1", "--metric_for_best_model=loss"]
    last = start(*flags, *often, "--load_best_model_at_end=false")
    assert (last["kept_step"], last["best_step"]) == (4, 1)
    assert "weights of step 4, the best were step 1's" in capsys.readouterr().out
    assert "Weights of step 4, the best were step 1's" in (tmp_path / "run" / "adapter" / "README.md").read_text()
    best = start(*flags, *often, "--overwrite")
    assert best["kept_step"] == best["best_step"] == 1
    assert "best checkpoint: step 1\n" in capsys.readouterr().out

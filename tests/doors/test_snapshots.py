"""train.py --snapshots: the copies are those of the run, which is the same with and without them."""

import shutil

import pytest
from safetensors.torch import load_file

import train
from training.errors import UsageError
from training.snapshots import snapshots


@pytest.fixture
def start(tiny_base, messages_file, tmp_path, monkeypatch):
    """start(output_dir, *flags) -> the directory of a run of six steps, scored after each."""
    monkeypatch.chdir(tmp_path)
    flags = [
        f"--model={tiny_base}", f"--dataset={messages_file}", "--learning_rate=1e-2", "--max_steps=6", "--device=cpu",
        "--per_device_train_batch_size=8", "--precision=fp32", "--save_strategy=steps", "--save_steps=2",
        "--eval_strategy=steps", "--eval_steps=1", "--metric_for_best_model=loss",
    ]  # fmt: skip

    def run(where, *more):
        train.main(train.read_settings([*flags, "--output_dir", where, *more]))
        return tmp_path / where

    return run


def files(run):
    return {path.name: path.read_bytes() for path in (run / "snapshots").iterdir()}


def same_training(a, b):
    weights = "adapter/adapter_model.safetensors"
    assert (a / weights).read_bytes() == (b / weights).read_bytes()
    assert (a / "metrics.jsonl").read_bytes() == (b / "metrics.jsonl").read_bytes()


def test_the_training_is_the_same_to_the_bit_with_copies_and_without(start):
    plain, watched = start("plain", "--snapshots=0"), start("watched", "--snapshots=4")
    same_training(plain, watched)
    assert not (plain / "snapshots").exists()
    assert {0, 2, 4, 6} <= set(snapshots(watched / "snapshots")) and len(snapshots(watched / "snapshots")) <= 5


def test_a_copy_holds_what_the_adapter_file_holds_and_the_first_one_is_before_training(start):
    run = start("run", "--snapshots=2", "--load_best_model_at_end=false")
    last, adapter = (load_file(run / name) for name in (
        "snapshots/step-000006.safetensors", "adapter/adapter_model.safetensors"
    ))  # fmt: skip
    assert last.keys() == adapter.keys() and all((last[name] == adapter[name]).all() for name in adapter)
    first = load_file(run / "snapshots" / "step-000000.safetensors")
    for name, tensor in first.items():
        if name.endswith(("lora_B.weight", "lora_embedding_A")):
            assert not tensor.any() and last[name].any(), name


@pytest.mark.promise("P2")
@pytest.mark.parametrize("step", [2, 4, 6])
def test_a_run_that_goes_on_from_any_checkpoint_ends_with_the_same_copies(start, step):
    run = start("run", "--snapshots=3", "--save_total_limit=9")
    whole = files(run)
    train.main(train.read_settings(["--resume_from_checkpoint", f"run/checkpoints/step-{step:06d}"]))
    assert files(run) == whole


def test_a_run_that_lost_its_copies_after_the_checkpoint_writes_them_again(start):
    run = start("run", "--snapshots=3", "--save_total_limit=9")
    whole = files(run)
    for step in snapshots(run / "snapshots"):
        if step >= 4:
            (run / "snapshots" / f"step-{step:06d}.safetensors").unlink()
    train.main(train.read_settings(["--resume_from_checkpoint", "run/checkpoints/step-000004"]))
    assert files(run) == whole


def test_their_number_cannot_change_when_a_run_goes_on(start):
    start("run", "--snapshots=3")
    with pytest.raises(UsageError, match=r"change of --snapshots \(it was 3\)"):
        train.main(train.read_settings(["--resume_from_checkpoint", "run", "--snapshots=5"]))


def test_overwriting_a_run_takes_its_copies_along(start):
    start("run", "--snapshots=3")
    assert not (start("run", "--overwrite", "--snapshots=0") / "snapshots").exists()


def test_of_the_head_alone_the_copies_hold_the_head(start):
    run = start("run", "--train=head", "--snapshots=2")
    copy = load_file(run / "snapshots" / "step-000006.safetensors")
    assert list(copy) == ["base_model.model.score.weight"]


def test_full_fine_tuning_keeps_none_and_says_so_once(start, capsys):
    run = start("run", "--train=full", "--snapshots=4")
    assert not (run / "snapshots").exists()
    assert capsys.readouterr().out.count("full fine-tuning keeps none") == 1
    shutil.rmtree(run)
    start("run", "--train=full", "--snapshots=0")
    assert "keeps none" not in capsys.readouterr().out

"""bf16 and fp16 through train.py: it still learns, weights stay float32, and a skipped step moves no schedule."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

import infer
import train
from training import probe
from training.device import Place
from training.errors import NonFiniteError

DROPOUTS = ("resid_pdrop", "embd_pdrop", "attn_pdrop")


@pytest.fixture
def config(tiny_base, messages_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_base, "base")
    return {
        "model": "base", "dataset": str(messages_file), "learning_rate": 1e-2, "max_steps": 8,
        "per_device_train_batch_size": 4, "device": "cpu", "output_dir": "run", "eval_strategy": "no",
    }  # fmt: skip


def steps_of(run):
    entries = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [entry for entry in entries if "grad_norm" in entry]


def scaled_from(monkeypatch, scale):
    def scaler(place):
        return torch.amp.GradScaler(place.device.type, init_scale=scale, enabled=place.precision == "fp16")

    monkeypatch.setattr(Place, "grad_scaler", scaler)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_run_in_half_precision_follows_the_one_in_fp32_and_keeps_float32_weights(
    config, tmp_path, monkeypatch, precision
):
    scaled_from(monkeypatch, 1024.0)  # low enough for no step to be skipped
    still = json.loads((tmp_path / "base" / "config.json").read_text()) | dict.fromkeys(DROPOUTS, 0.0)
    (tmp_path / "base" / "config.json").write_text(json.dumps(still))
    config |= {"lora_dropout": 0.0, "learning_rate": 3e-3}
    train.main(train.TrainConfig(**(config | {"output_dir": "fp32"}), precision="fp32"))
    assert train.main(train.TrainConfig(**config, precision=precision))["precision"] == precision
    losses, exact = ([step["loss"] for step in steps_of(tmp_path / name)] for name in ("run", "fp32"))
    assert losses != exact and losses == pytest.approx(exact, abs=5e-3)
    assert max(exact) - min(exact) > 0.1  # there was something to follow
    tensors = load_file(tmp_path / "run" / "adapter" / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}
    assert f'precision = "{precision}"' in (tmp_path / "run" / "config.toml").read_text()


def test_a_step_skipped_for_an_overflow_changes_no_weight_and_moves_no_schedule(config, tmp_path, monkeypatch):
    scaled_from(monkeypatch, 2.0**18)
    config |= {"precision": "fp16", "save_strategy": "steps", "save_steps": 1, "save_total_limit": 99}
    train.main(train.TrainConfig(**config))
    steps = steps_of(tmp_path / "run")
    made = [step["grad_norm"] is not None for step in steps]
    assert not made[0] and sum(made) > 2
    # The first update is made at the peak, however late it comes; from there each update lets the rate fall.
    expected = [1e-2 * (8 - sum(made[:step])) / 8 for step in range(8)]
    assert [step["learning_rate"] for step in steps] == pytest.approx(expected, rel=1e-12)
    saved = [load_file(tmp_path / "run" / "checkpoints" / f"step-{n:06d}" / "trainable.safetensors") for n in (1, 8)]
    B = [name for name in saved[0] if ".lora_B." in name]
    assert B and not any(saved[0][name].any() for name in B)
    assert all(saved[1][name].any() for name in B)


def test_a_run_resumed_after_a_skipped_step_ends_with_the_same_bytes(config, tmp_path, monkeypatch):
    scaled_from(monkeypatch, 2.0**18)
    config |= {"precision": "fp16", "save_strategy": "steps", "save_steps": 1, "save_total_limit": 99}
    train.main(train.TrainConfig(**config))
    whole = (tmp_path / "run" / "adapter" / "adapter_model.safetensors").read_bytes()
    assert steps_of(tmp_path / "run")[0]["grad_norm"] is None
    train.main(train.TrainConfig(**config, resume_from_checkpoint="run/checkpoints/step-000001"))
    assert (tmp_path / "run" / "adapter" / "adapter_model.safetensors").read_bytes() == whole


def test_fp16_that_overflows_at_every_scale_stops(config, monkeypatch):
    scaled_from(monkeypatch, 4.0)
    config |= {"precision": "fp16", "learning_rate": 1e30, "max_grad_norm": 0.0}
    with pytest.raises(NonFiniteError, match="fp16 overflows at every scale"):
        train.main(train.TrainConfig(**config))


def test_auto_on_a_cpu_measures_once_records_its_choice_and_resumes_in_it(config, tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(probe, "matrix_rates", lambda width: asked.append(width) or (100e9, 300e9))
    config |= {"save_strategy": "steps", "save_steps": 1}
    assert train.main(train.TrainConfig(**config, precision="auto"))["precision"] == "bf16"
    assert "Running on the CPU in bf16." in capsys.readouterr().out and asked == [32]
    assert 'precision = "bf16"' in (tmp_path / "run" / "config.toml").read_text()
    again = train.read_settings(["--resume_from_checkpoint", "run/checkpoints/step-000007"])
    assert train.main(again)["precision"] == "bf16" and asked == [32]
    train.main(train.TrainConfig(**(config | {"output_dir": "exact", "max_steps": 1}), exact=True))
    assert asked == [32]


def test_a_bf16_run_learns_and_resumed_ends_with_the_same_bytes(config, tmp_path):
    config |= {"precision": "bf16", "save_strategy": "steps", "save_steps": 3, "save_total_limit": 99, "max_steps": 24}
    results = train.main(train.TrainConfig(**config))
    assert results["after"]["loss"] < 0.8 * results["before"]["loss"]
    whole = (tmp_path / "run" / "adapter" / "adapter_model.safetensors").read_bytes()
    checkpointed = {"resume_from_checkpoint": "run/checkpoints/step-000012", "gradient_checkpointing": True}
    train.main(train.TrainConfig(**config, **checkpointed))  # which is the machine's affair, and changes no bit
    assert (tmp_path / "run" / "adapter" / "adapter_model.safetensors").read_bytes() == whole


@pytest.mark.parametrize("what", ["lora", "head", "full"])
def test_what_a_bf16_run_leaves_is_float32_and_merged_from_the_base_as_it_is_stored(config, tmp_path, what):
    train.main(train.TrainConfig(**(config | {"train": what, "precision": "bf16", "max_steps": 2})))
    base = load_file(tmp_path / "base" / "model.safetensors")
    name = "transformer.wte.weight"
    if what != "lora":
        saved = load_file(tmp_path / "run" / "model" / "model.safetensors")
        assert {tensor.dtype for tensor in saved.values()} == {torch.float32}
        assert torch.equal(saved[name], base[name]) == (what == "head")
        return
    for precision in ("bf16", "fp32"):
        infer.main(infer.InferConfig(adapter="run", save_merged=precision, device="cpu", precision=precision))
    half, full = (load_file(tmp_path / precision / "model.safetensors") for precision in ("bf16", "fp32"))
    assert half.keys() == full.keys() and all(torch.equal(half[key], full[key]) for key in full)
    assert {tensor.dtype for tensor in half.values()} == {torch.float32} and torch.equal(half[name], base[name])
    answers = [
        infer.load_classifier(where, device="cpu", precision=precision).probabilities(["free prize", "see you"])
        for where, precision in (("run", "bf16"), ("bf16", "bf16"), ("run", "fp32"))
    ]
    exact = pytest.approx([p for row in answers[2] for p in row], abs=0.02)
    assert all([p for row in said for p in row] == exact for said in answers)

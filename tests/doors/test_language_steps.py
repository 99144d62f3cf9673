"""The steps of a run that learns to write: one divisor for all tokens, the same bits again, and nothing disturbed."""

import contextlib
import dataclasses
import json
import shutil
from array import array
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import data
import gpt2
import train
from tests.doors.test_torchrun import metrics, run_entries, use_float64
from training.device import choose_place
from training.errors import run_door
from training.optimization import build_optimizer

EOS = 0


@pytest.fixture
def config(tiny_base, messages_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return train.TrainConfig(
        task="language", model=str(tiny_base), dataset=str(messages_file), only_label="ham", learning_rate=1e-2,
        num_train_epochs=2, per_device_train_batch_size=8, output_dir="run", device="cpu", precision="fp32",
        eval_strategy="steps", eval_steps=2, load_best_model_at_end=False,
    )  # fmt: skip


def adapter_bytes(run) -> bytes:
    return Path(run, "adapter", "adapter_model.safetensors").read_bytes()


# One step


@pytest.fixture(params=["plain", "fast"])
def model_of(request, tiny_base):
    """model_of(): the base without dropout, in float64, in one of its two forms."""

    def build():
        model = gpt2.GPT2LMHeadModel.from_pretrained(tiny_base, embd_pdrop=0.0, resid_pdrop=0.0, attn_pdrop=0.0)
        if request.param == "fast":
            gpt2.use_fast(model)
        return model.double()

    return build


def some_windows() -> list[data.Window]:
    """Of 2 to 40 tokens, some with a prompt; their ids are from the vocabulary of 300."""
    lengths, generator = (40, 2, 3, 17, 5, 2, 28), torch.Generator().manual_seed(3)
    return [
        data.Window(array("i", torch.randint(1, 290, (n,), generator=generator).tolist()), 1 + (n % 5) * (n > 10), i)
        for i, n in enumerate(lengths)
    ]


def step(model, batches, max_grad_norm=0.0, steps=1):
    """(loss, gradient norm) of the last of `steps` steps over the same batches."""
    optimizer, place = build_optimizer(model, 1e-3, 0.01), choose_place("cpu", "fp32")
    for _ in range(steps):
        told = train.train_step(model, optimizer, place.grad_scaler(), batches, place, max_grad_norm)
    return told[:2]


def cut(windows, sizes) -> list[data.Batch]:
    parts = torch.arange(len(windows)).split(sizes)
    return [data.collate_windows([windows[i] for i in part], EOS) for part in parts]


def test_the_loss_of_a_step_is_the_mean_over_all_its_target_tokens(model_of):
    windows, model = some_windows(), model_of()
    nats = []
    with torch.no_grad():
        for window in windows:
            said = model(torch.tensor([list(window.ids)])).logits[0].log_softmax(-1)
            nats += [-float(said[t - 1, window.ids[t]]) for t in range(window.first_target, len(window.ids))]
    loss, _ = step(model, cut(windows, [3, 1, 3]))
    assert loss == pytest.approx(sum(nats) / len(nats), rel=1e-12)


@pytest.mark.parametrize("sizes", [[6, 1], [1, 2, 4], [1] * 7], ids=str)
def test_uneven_batches_of_a_step_equal_one_large_batch(model_of, sizes):
    large, small = model_of(), model_of()
    told = [step(model, cut(some_windows(), how), 0.1, 3) for model, how in ((large, [7]), (small, sizes))]
    assert told[1] == pytest.approx(told[0], rel=1e-10)
    for a, b in zip(large.parameters(), small.parameters()):
        torch.testing.assert_close(b, a, rtol=0, atol=1e-10)


# A whole run


def test_an_exact_run_gives_the_same_bits_again_and_another_seed_others(config):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train.main(dataclasses.replace(config, exact=True, output_dir=name, seed=seed))
    a, b, c = (adapter_bytes(name) for name in "abc")
    assert a == b != c
    assert metrics(Path("a")) == metrics(Path("b")) != metrics(Path("c"))


@pytest.mark.parametrize("exact", [False, True], ids=["fast", "exact"])
def test_evaluations_and_their_samples_change_not_a_byte_of_what_is_learned(config, capsys, exact):
    config = dataclasses.replace(config, exact=exact)
    train.main(config)
    assert capsys.readouterr().out.count("it writes:") == 3
    train.main(dataclasses.replace(config, eval_strategy="no", output_dir="without"))
    assert capsys.readouterr().out.count("it writes:") == 1  # at the end, when all is learned
    train.main(dataclasses.replace(config, sample_prompt="dinner " * 40, output_dir="silent"))
    assert capsys.readouterr().out.count("it writes:") == 0  # there is no room after such a prompt
    assert adapter_bytes("run") == adapter_bytes("without") == adapter_bytes("silent")


def test_a_terminal_that_lacks_the_characters_of_a_sample_does_not_end_the_run(config, tmp_path):
    with open(tmp_path / "log", "w", encoding="ascii") as file, contextlib.redirect_stdout(file):
        assert run_door(lambda: train.main(dataclasses.replace(config, max_steps=2))) == 0
    assert "it writes: " in (tmp_path / "log").read_text(encoding="ascii")


# Rows of a batch, batches of a step, rows of an evaluation batch. 21 windows train, in steps of 8, 8 and 5, so that at
# the end rank 0 has two batches and rank 1 one; or of 20 and 1, so that rank 1 has none, as in the evaluation.
TWO = {"uneven": (2, 2, 3), "idle": (10, 1, 64)}


@pytest.mark.slow
def test_two_processes_compute_what_one_computes(tiny_base, messages_file, tmp_path, monkeypatch):
    """In float64, without dropout, every gradient clipped; the embedding has LoRA, too, and the head is its matrix."""
    shutil.copytree(tiny_base, tmp_path / "base")
    values = json.loads((tmp_path / "base" / "config.json").read_text())
    values |= dict.fromkeys(("attn_pdrop", "embd_pdrop", "resid_pdrop"), 0.0)
    (tmp_path / "base" / "config.json").write_text(json.dumps(values))
    common = {"task": "language", "model": str(tmp_path / "base"), "dataset": str(messages_file), "only_label": "ham"}
    common |= {"device": "cpu", "precision": "fp32", "lora_dropout": 0.0, "learning_rate": 1e-2, "max_grad_norm": 0.05}
    common |= {"target_modules": ("wte", "c_attn", "c_proj", "c_fc"), "num_train_epochs": 2, "val_size": 0.15}
    entries = [common | settings_of(*how) | {"double": True, "output_dir": name} for name, how in TWO.items()]
    code, out, err = run_entries(tmp_path, *entries)
    assert code == 0, err
    assert out.count("it writes:") == 4, "one voice"
    use_float64(monkeypatch.setattr)
    for name, how in TWO.items():
        settings = common | settings_of(*how)
        settings["per_device_train_batch_size"] *= 2
        one = train.main(train.TrainConfig(**settings, output_dir=str(tmp_path / "one"), overwrite=True))
        compare(one, tmp_path / "one", tmp_path / name)


def settings_of(rows: int, batches: int, rows_to_evaluate: int) -> dict:
    named = {"per_device_train_batch_size": rows, "gradient_accumulation_steps": batches}
    return named | {"per_device_eval_batch_size": rows_to_evaluate}


def compare(results: dict, one: Path, two: Path) -> None:
    others = json.loads((two / "results.json").read_text())
    assert (results["world_size"], others["world_size"]) == (1, 2)
    for a, b in zip(metrics(one), metrics(two), strict=True):
        assert a.pop("part", None) == b.pop("part", None)
        assert a == pytest.approx(b, abs=1e-12, rel=1e-12)
    for when in ("before", "after"):
        assert results[when] == pytest.approx(others[when], rel=1e-12)
    a, b = (load_file(run / "adapter" / "adapter_model.safetensors") for run in (one, two))
    assert a.keys() == b.keys()
    assert max((a[key] - b[key]).abs().max().item() for key in a) <= 1e-12

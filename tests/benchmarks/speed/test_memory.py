"""benchmarks/speed/memory.py: what the arithmetic predicts is what autograd keeps, and what is alive at most."""

import dataclasses
import itertools
import json
from pathlib import Path

import pytest
import torch

import gpt2
from benchmarks.speed import memory
from benchmarks.speed.memory import (
    FORMS,
    KERNELS,
    PRECISIONS,
    SIZES,
    WAYS,
    MemoryConfig,
    Training,
    main,
    measure,
    table_of,
)
from benchmarks.speed.stand_in import META, Watch, as_if_on_a_gpu, batch_of, build, saved_bytes, trainer_of
from training.device import Place
from training.errors import UsageError

README = Path(__file__).resolve().parents[3] / "README.md"
SMALL = gpt2.GPT2Config(vocab_size=100, n_positions=128, n_embd=256, n_layer=10, n_head=8)
CASES = [(SMALL, 16, 128, *choice) for choice in itertools.product(WAYS, PRECISIONS, FORMS, (False, True))]
CASES += [
    (SMALL, 2, 16, "lora", "bf16", "plain", False),  # so few tokens that the weights, here cast to bf16, are most of it
    (SMALL, 2, 16, "lora", "bf16", "fast", False),
    (dataclasses.replace(SMALL, n_layer=2), 16, 128, "lora", "fp32", "fast", False),  # half of it is the last block
    (SIZES["124M"], 8, 512, "full", "fp32", "plain", True),
    (SIZES["1.5B"], 8, 512, "lora", "bf16", "fast", False),
]


def counted(training):
    """(bytes that autograd saves, bytes alive at most in the second step), on META by CUDA's rules"""
    model = build(training.shape, training.way, training.form, training.precision, META)
    model.transformer.gradient_checkpointing = training.checkpointing
    place, batch = Place(META, training.precision, "as if on a GPU"), batch_of([training.length] * training.rows)
    with as_if_on_a_gpu():
        saved, step = saved_bytes(model, batch, place), trainer_of(model, batch, place)
        with Watch() as watch:
            watch.meet(*model.parameters())
            step()
            watch.peak = watch.alive
            step()
    return saved, watch.peak


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case[1:])))
def test_the_prediction_is_within_a_tenth_of_what_is_counted(case):
    training = Training(*case)
    parts, (saved, peak) = training.parts(), counted(training)
    assert parts["peak"] - KERNELS == pytest.approx(peak, rel=0.1)
    if not training.checkpointing:  # else blocks keep nothing, and torch's checkpoint what it needs to begin again
        assert parts["activations"] == pytest.approx(saved, rel=0.1, abs=1e5)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("way", WAYS)
def test_the_stand_in_keeps_what_a_cpu_really_keeps(way, form):
    shape = dataclasses.replace(SMALL, n_embd=64, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    kept = []
    for device in (torch.device("cpu"), META):
        model, place = build(shape, way, form, "fp32", device), Place(device, "fp32", "")
        for name, module in model.named_modules():
            if "lora_dropout" in name and isinstance(module, torch.nn.Dropout):
                module.p = 0.0  # a CPU keeps other masks
        if device == META:
            with as_if_on_a_gpu():
                kept.append(saved_bytes(model, batch_of([32] * 4), place))
        else:
            kept.append(saved_bytes(model, batch_of([32] * 4), place))
    assert kept[1] == pytest.approx(kept[0], rel=0.01) and (kept[0] > 0 or (way, form) == ("head", "fast"))


def test_gradient_checkpointing_and_the_fast_form_save_memory_in_bf16_and_lora_saves_the_optimizer_s():
    def peak(way="lora", form="plain", checkpointing=False):
        return Training(SIZES["774M"], 8, 512, way, "bf16", form, checkpointing).parts()["peak"]

    assert peak(checkpointing=True) < peak(form="fast") < peak() < peak(way="full")
    full, lora = (Training(SIZES["774M"], 8, 512, way, "bf16", "fast").parts() for way in ("full", "lora"))
    assert full["optimizer"] == 2 * full["gradients"] > 100 * lora["optimizer"]


def test_too_little_memory_is_a_cell_of_the_table_and_not_the_end(monkeypatch):
    def refuse(*_):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(memory, "choose_place", lambda *_, **__: Place(META, "fp32", ""))
    monkeypatch.setattr(memory, "build", refuse)
    row = {"size": "124M", "rows": 8, "length": 512, "train": "lora", "precision": "fp32", "form": "plain"}
    row["measured"] = measure(Training(SMALL, 8, 512, "lora", "fp32", "plain"))
    rows = [row | {"peak": 2.04e9}, row | {"peak": 1e9, "form": "fast", "measured": 3e9}]
    assert table_of(rows, on_gpu=True).splitlines() == [
        "|  | rows × tokens | trained | fp32, plain | measured | fp32, fast | measured |",
        "|---|---|---|---|---|---|---|",
        "| 124M | 8 × 512 | LoRA | 2.0 | out of memory | 1.0 | 3.0 |",
    ]


def test_readme_shows_the_table_and_json_holds_its_parts(tmp_path, capsys):
    main(MemoryConfig(device="cpu", json=str(tmp_path / "memory.json")))
    assert capsys.readouterr().out in README.read_text(encoding="utf-8")
    rows = json.loads((tmp_path / "memory.json").read_text())
    assert len(rows) == len(SIZES) * len(WAYS) * len(PRECISIONS) * len(FORMS)
    for row in rows:
        assert row["weights"] + row["optimizer"] + row["activations"] < row["peak"] and "measured" not in row


@pytest.mark.parametrize("wrong", [{"batch_size": (0, 8)}, {"length": (1025,)}, {"length": (0,)}])
def test_sizes_that_gpt2_cannot_take_are_refused(wrong):
    with pytest.raises(UsageError, match=f"--{next(iter(wrong))}"):
        MemoryConfig(**wrong)

"""On a CUDA GPU, and only there: the fast form against the plain one, a step that waits once, a run from end to end.

    python -m pytest -W default tests/test_cuda.py

`-W default`, because elsewhere a warning fails a test: where a GPU is, torch and numpy are often not the versions of
requirements.txt, and what another version warns of says nothing about this code.
"""

import copy
import dataclasses
import shutil
import warnings

import pytest
import torch

import data
import gpt2
import infer
import lora
import train
from gpt2.packed_attention import GroupedAttention
from gpt2.packing import PackedRows
from gpt2.varlen_attention import VarlenAttention, flash_works
from training import dropout
from training.device import choose_place
from training.optimization import build_optimizer

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
GPU = torch.device("cuda")
CONFIG = gpt2.GPT2Config(
    vocab_size=101, n_positions=64, n_embd=128, n_layer=3, n_head=2, eos_token_id=0,
    resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
)  # fmt: skip
LENGTHS = [[7], [1, 1, 1], [20, 20], [2, 33, 1, 3, 64, 16, 4, 2, 2, 1, 7]]


def classifier(**dropouts):
    """On the GPU, adapters filled."""
    torch.manual_seed(0)
    model = gpt2.GPT2ForSequenceClassification(dataclasses.replace(CONFIG, **dropouts))
    lora.apply_lora(model, lora.LoraConfig(r=4, lora_dropout=0.0, task_type="SEQ_CLS", init_lora_weights=False))
    return model.to(GPU)


def fast(model):
    model = copy.deepcopy(model)
    for part in (gpt2, lora, dropout):
        part.use_fast(model)
    return model


def rows(lengths):
    generator = torch.Generator().manual_seed(1)
    ids = [torch.randint(1, 101, (n,), generator=generator).tolist() for n in lengths]
    return data.collate(ids, 0, [n % 2 for n in lengths])


def logits_and_gradients(model, batch, precision):
    batch = batch.to(GPU)
    with choose_place("cuda", precision).autocast():
        logits = model(batch.input_ids, batch.attention_mask).logits.float()
    torch.nn.functional.cross_entropy(logits, batch.labels).backward()
    return logits.detach(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_the_fast_form_equals_the_plain_one_in_fp32(lengths):
    plain = classifier()
    for want, got in zip(*(logits_and_gradients(m, rows(lengths), "fp32") for m in (plain, fast(plain)))):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-4 * float(want.abs().max()))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_in_16_bits_they_agree_as_far_as_those_go(precision):
    plain, batch = classifier(), rows(LENGTHS[-1])
    quick = fast(plain)
    if precision == "bf16":
        gpt2.hold_frozen(quick, torch.bfloat16)
    (want, slope), (got, slope_of_quick) = (logits_and_gradients(m, batch, precision) for m in (plain, quick))
    torch.testing.assert_close(got, want, rtol=0, atol=0.05 * float(want.abs().max()))
    assert torch.cosine_similarity(slope, slope_of_quick, dim=0) > 0.99


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_attention_dropout_leaves_the_mean_and_differs_between_rows(precision):
    model = fast(classifier(attn_pdrop=0.2))
    batch = rows([9] * 2000).to(GPU)
    ids = batch.input_ids[:1].expand(2000, -1)
    with torch.no_grad(), choose_place("cuda", precision).autocast():
        still, drawn = (model.train(training)(ids, batch.attention_mask).logits for training in (False, True))
    assert drawn.std(0).min() > 0.01 * still[0].abs().max()
    mean, error = drawn.mean(0), drawn.std(0) / 2000**0.5
    assert ((mean - still[0]).abs() < 0.1 * still[0].abs().max() + 4 * error).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_mask_of_attention_dropout_is_the_same_forward_and_backward(dtype):
    """The output is linear in v: with one mask, y . w is v . (its gradient for w)."""
    packed = PackedRows.of([9, 33, 2, 1, 64, 5, 5, 5, 8, 7], 64, GPU)
    qkv = torch.randn(139, 3 * 128, device=GPU, dtype=dtype, requires_grad=True)
    attend = VarlenAttention(packed, 2) if flash_works(GPU, dtype, 64) else GroupedAttention(packed, 2)
    assert isinstance(attend, VarlenAttention) == (dtype != torch.float32)
    y = attend(qkv, torch.nn.Dropout(0.3), pooled=False)
    w = torch.randn_like(y)
    y.backward(w)
    forward, backward = (y.double() * w.double()).sum(), (qkv.double() * qkv.grad.double())[:, 256:].sum()
    size = (y.double() * w.double()).abs().sum()
    assert abs(forward - backward) < (1e-5 if dtype == torch.float32 else 5e-3) * size


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
def test_a_step_waits_for_the_gpu_once_and_adamw_is_fused(precision):
    model, place = fast(classifier()).train(), choose_place("cuda", precision, fast=True)
    optimizer = build_optimizer(model, 1e-3, 0.01)
    assert all(group["fused"] for group in optimizer.param_groups)
    batches = [rows([5, 20, 9]), rows([3, 1])]
    step = lambda: train.train_step(model, optimizer, place.grad_scaler(), batches, place, 1.0)  # noqa: E731
    step()  # loads kernels and makes AdamW's state
    try:
        torch.cuda.set_sync_debug_mode("warn")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            loss, norm, stepped = step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    waits = [str(w.message) for w in caught if "synchroniz" in str(w.message)]
    assert len(waits) == 1, waits
    assert loss > 0 and norm > 0 and stepped


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_train_and_infer_from_end_to_end(tiny_base, messages_file, tmp_path, monkeypatch, capsys, precision):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_base, "base")
    config = {"model": "base", "dataset": str(messages_file), "learning_rate": 1e-2, "device": "cuda"}
    results = train.main(train.TrainConfig(**config, precision=precision, output_dir="run"))
    assert results["device"] == "cuda" and results["after"]["loss"] < results["before"]["loss"]
    assert "plain form" not in capsys.readouterr().out  # the fast one is the default
    texts = ["free prize, call now", "see you at 8"]
    quick, plain = (
        infer.load_classifier("run", device=device, fast=form).probabilities(texts)
        for device, form in (("cuda", None), ("cpu", False))
    )
    assert [p for row in quick for p in row] == pytest.approx([p for row in plain for p in row], abs=1e-3)

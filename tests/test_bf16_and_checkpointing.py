"""The classifier with its frozen weights held in bf16, and with its blocks computed twice: the same gradients."""

import copy

import pytest
import torch
import torch.nn.functional as F

import gpt2
import lora
from gpt2.model import Conv1D
from tests.test_plain_and_fast import classifier, dropout_classifier, fast, some_rows

ROWS = some_rows([5, 9, 1, 24, 3, 7, 7, 12, 2])


def loss_and_gradient(model, autocast=False):
    ids, mask, _, labels = ROWS
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        logits = model(ids, mask).logits
    loss = F.cross_entropy(logits.float(), labels)
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def held(model):
    model = fast(copy.deepcopy(model))
    gpt2.hold_frozen(model, torch.bfloat16)
    return model


def test_with_frozen_weights_in_bf16_the_gradient_points_where_that_of_fp32_does():
    plain = classifier().float()
    loss, want = loss_and_gradient(plain)
    half_loss, got = loss_and_gradient(held(plain), autocast=True)
    assert got.keys() == want.keys() and {g.dtype for g in got.values()} == {torch.float32}
    assert half_loss.item() == pytest.approx(loss.item(), rel=0.02) and half_loss != loss
    a, b = (torch.cat([g.flatten() for g in gradients.values()]) for gradients in (got, want))
    assert torch.cosine_similarity(a, b, dim=0) > 0.999
    assert (a.norm() / b.norm()).item() == pytest.approx(1, abs=0.02)


def test_only_frozen_matrices_and_embeddings_are_held_and_activations_follow_them():
    model = held(classifier().float())
    for name, parameter in model.named_parameters():
        frozen = any(part in name for part in ("c_attn", "c_proj", "c_fc", "wte", "wpe")) and "lora_" not in name
        assert parameter.dtype == (torch.bfloat16 if frozen else torch.float32), name
    seen = {}
    for name, module in model.transformer.named_modules():
        if isinstance(module, torch.nn.LayerNorm | Conv1D):
            module.register_forward_pre_hook(lambda _, inputs, name=name: seen.update({name: inputs[0].dtype}))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(*ROWS[:2]).logits
    assert seen.pop("ln_f") == torch.float32 == logits.dtype
    assert len(seen) == 3 * (2 + 4) and set(seen.values()) == {torch.bfloat16}


@pytest.mark.parametrize("train", ["full", "head"])
def test_what_trains_is_never_held_in_half_precision(train):
    plain = classifier(train).float()
    _, want = loss_and_gradient(plain)
    model = held(plain)
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    _, got = loss_and_gradient(model, autocast=True)
    assert got.keys() == want.keys()
    a, b = (torch.cat([g.flatten() for g in gradients.values()]) for gradients in (got, want))
    assert torch.cosine_similarity(a, b, dim=0) > 0.999


def test_an_adapter_with_a_whole_module_works_on_a_held_base():
    model = held(classifier(target_modules=("c_attn",), modules_to_save=("mlp",)).float())
    _, gradients = loss_and_gradient(model, autocast=True)
    assert {g.dtype for g in gradients.values()} == {torch.float32} and any("mlp" in name for name in gradients)


@pytest.mark.parametrize("form", [copy.deepcopy, fast, held], ids=["plain", "fast", "bf16"])
def test_gradient_checkpointing_changes_no_bit_with_dropout_on(form):
    model, results = form(dropout_classifier().float()), []
    calls = [0]
    model.transformer.h[1].mlp.register_forward_pre_hook(lambda *_: calls.__setitem__(0, calls[0] + 1))
    for twice in (False, True):
        model.transformer.gradient_checkpointing = twice
        model.zero_grad()
        torch.manual_seed(11)
        results.append((*loss_and_gradient(model, autocast=form is held), torch.get_rng_state()))
    assert calls[0] == 3  # once without, twice with
    (loss, want, state), (again, got, state_again) = results
    assert torch.equal(loss, again) and torch.equal(state, state_again)
    assert got.keys() == want.keys() and all(torch.equal(got[name], want[name]) for name in want)


def test_gradient_checkpointing_does_nothing_where_no_gradient_is_wanted():
    model = fast(dropout_classifier())
    model.transformer.gradient_checkpointing = True
    calls = []
    model.transformer.h[1].mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    with torch.inference_mode():
        model(*ROWS[:2])
    assert len(calls) == 1


def test_disabling_the_adapter_of_a_held_model_gives_the_held_base():
    base = gpt2.GPT2ForSequenceClassification(classifier().config)
    tuned = lora.apply_lora(copy.deepcopy(base), lora.LoraConfig(r=2, target_modules=("c_attn",), task_type="SEQ_CLS"))
    base, tuned = held(base.requires_grad_(False)).eval(), held(tuned).eval()
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16), lora.disable_lora(tuned):
        assert torch.equal(tuned(*ROWS[:2]).logits, base(*ROWS[:2]).logits)

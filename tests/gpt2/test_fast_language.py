"""The fast language model on its own: what it computes and leaves out, what it hands to the plain form, half precision.

That its numbers are the plain form's stands in tests/test_plain_and_fast.py.
"""

import copy
import json

import pytest
import torch

import gpt2
import lora
from gpt2 import target_loss
from gpt2.fast import plan_targets
from tests.gpt2.test_fast import LEFT, batch, positions_seen
from tests.gpt2.test_fast_dropout import dropout_language_model
from tests.gpt2.test_target_loss import MostLogits
from tests.test_plain_and_fast import fast, language, some_texts

PROMPTS = some_texts([9, 20, 7, 24, 12], [[3], [15], [0], [23], [11]])


@pytest.fixture
def plain():
    return language("full").eval()


@pytest.fixture
def quick(plain):
    return fast(copy.deepcopy(plain))


def seen_by(model, inputs, last="2"):
    names = ("h.0.mlp", f"h.{last}.attn.c_attn", f"h.{last}.attn.c_proj", f"h.{last}.mlp", "ln_f")
    seen = {name: positions_seen(model.get_submodule(f"transformer.{name}")) for name in names}
    model(*inputs)
    return [counts for (counts,) in seen.values()]


def test_of_plain_texts_all_but_the_last_token_of_each_is_computed(quick):
    assert seen_by(quick, some_texts([9, 2, 24])) == [8 + 1 + 23] * 5


def test_of_prompts_the_last_block_and_the_norm_compute_the_tokens_before_a_target_alone(quick):
    N, M = 8 + 19 + 6 + 23 + 11, 6 + 5 + 6 + 1 + 1
    assert seen_by(quick, PROMPTS) == [N, N, M, M, M]


def test_a_row_ends_at_its_last_target_and_one_without_any_is_one_token(quick):
    ids, mask, _, labels, how = some_texts([9, 6, 24])
    labels[0, 4:] = labels[1] = -100
    assert seen_by(quick, (ids, mask, None, labels, how)) == [3 + 1 + 23] * 2 + [3 + 23] * 3


def test_where_the_targets_stand_and_which_they_are():
    labels = torch.tensor([[5, -100, 7, -100], [1, 2, 3, 4], [9, -100, -100, -100]])
    rows, kept, targets = plan_targets(labels, [4, 4, 2])
    assert rows.lengths == [3, 2, 1] and rows.tokens.tolist() == [4, 5, 6, 0, 1, 8]
    assert rows.tokens[kept].tolist() == [4, 5, 6, 1] and targets.tolist() == [2, 3, 4, 7]
    assert plan_targets(labels, [4, 2, 2]) is None  # row 1 asks what follows a token of padding


def test_asked_for_a_loss_it_gives_the_loss_alone_and_without_labels_the_logits(plain, quick):
    asked, free = quick(*PROMPTS), quick(*PROMPTS[:2])
    assert asked.logits is None and asked.last_hidden_state is None and asked.loss.dtype == torch.float64
    assert free.loss is None and free.last_hidden_state.shape == (5, 24, 32)
    torch.testing.assert_close(free.logits, plain(*PROMPTS[:2]).logits, rtol=0, atol=1e-11)


@pytest.mark.parametrize("positions", [None, torch.arange(5).flip(0).expand(2, -1)], ids=["left", "given positions"])
def test_other_batches_are_computed_as_the_plain_form_does(plain, quick, positions):
    ids, full = batch([5, 5], 5)
    mask = LEFT if positions is None else full
    want, got = (model(ids, mask, positions, ids.masked_fill(mask == 0, -100)) for model in (plain, quick))
    torch.testing.assert_close(got.loss, want.loss, rtol=1e-12, atol=0)
    torch.testing.assert_close(got.logits, want.logits, rtol=0, atol=1e-11)


def test_a_batchs_sum_is_the_sum_over_its_rows_and_the_mean_is_over_its_targets(quick):
    ids, mask, _, labels, _ = PROMPTS
    rows = [quick(*(x[i : i + 1] for x in (ids, mask)), None, labels[i : i + 1], "sum").loss for i in range(len(ids))]
    torch.testing.assert_close(quick(*PROMPTS).loss, sum(rows), rtol=1e-13, atol=0)
    torch.testing.assert_close(quick(ids, mask, labels=labels).loss, sum(rows) / 19, rtol=1e-13, atol=0)


def test_a_batch_without_a_target_moves_nothing():
    model = fast(dropout_language_model())
    loss = model(*some_texts([4, 9, 1], 9)).loss
    loss.backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert loss == 0 and not any(g.any() for g in gradients)


@pytest.mark.parametrize("train", ["lora", "full"])
def test_a_step_never_holds_the_logits_of_a_batch(monkeypatch, train):
    monkeypatch.setattr(target_loss, "CHUNK", 4)
    model, ids = fast(language(train)), torch.ones(3, 20, dtype=torch.long)
    with MostLogits(101, 32) as most:
        model(ids, labels=ids).loss.backward()
    assert most.rows == 4


def test_too_many_tokens_are_refused_as_before(quick):
    with pytest.raises(ValueError, match="this model has 24 positions"):
        quick(torch.ones(1, 25, dtype=torch.long), labels=torch.ones(1, 25, dtype=torch.long))


def test_saved_files_name_the_class_that_transformers_knows(quick, tmp_path):
    quick.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == ["GPT2LMHeadModel"]
    quick.transformer.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == ["GPT2Model"]


def loss_and_gradient(model, autocast):
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        loss = model(*PROMPTS).loss
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


HALF = {
    "frozen, cast": (language, False),
    "frozen, held": (language, True),
    "LoRA on embedding and head, held": (lambda: language(target_modules=("c_attn", "wte", "lm_head")), True),
    "trains": (lambda: language("full"), True),
}


@pytest.mark.parametrize("name", HALF)
def test_in_bf16_the_gradient_points_where_that_of_fp32_does(name):
    build, hold = HALF[name]
    plain = build().float()
    quick = fast(copy.deepcopy(plain))
    if hold:
        gpt2.hold_frozen(quick, torch.bfloat16)
    (want_loss, want), (loss, got) = loss_and_gradient(plain, False), loss_and_gradient(quick, True)
    assert loss.dtype == torch.float32 and loss != want_loss
    assert loss.item() == pytest.approx(want_loss.item(), rel=0.02)
    assert got.keys() == want.keys() and {g.dtype for g in got.values()} == {torch.float32}
    a, b = (torch.cat([g.flatten() for g in gradients.values()]) for gradients in (got, want))
    assert torch.cosine_similarity(a, b, dim=0) > 0.995
    assert (a.norm() / b.norm()).item() == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("targets", [("c_attn",), ("c_attn", "wte"), ("c_attn", "lm_head")], ids=" ".join)
def test_the_head_is_held_with_the_embedding_that_it_is(targets):
    model = language(target_modules=targets).float()
    gpt2.hold_frozen(model, torch.bfloat16)
    assert model.lm_head.weight is model.transformer.wte.weight and model.lm_head.weight.dtype == torch.bfloat16
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    full = language("full").float()
    gpt2.hold_frozen(full, torch.bfloat16)
    assert full.lm_head.weight.dtype == torch.float32


@pytest.mark.parametrize("autocast", [False, True], ids=["fp32", "bf16"])
def test_gradient_checkpointing_changes_no_bit_with_dropout_on(autocast):
    model, results = fast(dropout_language_model().float()), []
    if autocast:
        gpt2.hold_frozen(model, torch.bfloat16)
    for twice in (False, True):
        model.transformer.gradient_checkpointing = twice
        model.zero_grad()
        torch.manual_seed(11)
        results.append((*loss_and_gradient(model, autocast), torch.get_rng_state()))
    (loss, want, state), (again, got, state_again) = results
    assert torch.equal(loss, again) and torch.equal(state, state_again)
    assert got.keys() == want.keys() and all(torch.equal(got[name], want[name]) for name in want)


def test_with_adapters_disabled_the_loss_is_the_bases():
    base = language("full").eval()
    tuned = lora.apply_lora(copy.deepcopy(base), lora.LoraConfig(r=4, task_type="CAUSAL_LM", init_lora_weights=False))
    base, tuned = fast(base), fast(tuned)
    with torch.inference_mode():
        want = base(*PROMPTS).loss
        assert (tuned(*PROMPTS).loss - want).abs() > 1e-3
        with lora.disable_lora(tuned):
            assert torch.equal(tuned(*PROMPTS).loss, want)

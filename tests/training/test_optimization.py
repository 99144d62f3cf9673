"""AdamW's groups, the learning rate at each step and gradient clipping, as Trainer has them."""

import math

import pytest
import torch
from torch import nn

from training.errors import UsageError
from training.optimization import build_optimizer, clip_gradients, learning_rate_at, set_learning_rate


class Block(nn.Module):
    """The kinds of parameters that a fine-tuned model has, under the names that it gives them."""

    def __init__(self):
        super().__init__()
        self.ln_1 = nn.LayerNorm(4)
        self.c_attn = nn.Linear(4, 4)
        self.lora_A = nn.Linear(4, 2, bias=False)
        self.lora_B = nn.Linear(2, 4, bias=False)
        self.score = nn.Linear(4, 2, bias=False)


# transformers 5.23, optimization.py: get_{linear,cosine,constant}_schedule_with_warmup, written out.
def linear(step: int, warmup: int, total: int) -> float:
    if step < warmup:
        return step / max(1, warmup)
    return max(0.0, (total - step) / max(1, total - warmup))


def cosine(step: int, warmup: int, total: int) -> float:
    if step < warmup:
        return step / max(1, warmup)
    progress = (step - warmup) / max(1, total - warmup)
    return max(0.0, 0.5 * (1.0 + math.cos(math.pi * 0.5 * 2.0 * progress)))


def constant(step: int, warmup: int, total: int) -> float:
    return step / max(1.0, warmup) if step < warmup else 1.0


@pytest.mark.parametrize("schedule", [linear, cosine, constant])
@pytest.mark.parametrize("total, warmup", [(420, 0), (420, 26), (10, 10), (10, 30), (1, 0), (7, 1)])
def test_the_rate_is_that_of_transformers(schedule, total, warmup):
    for step in range(total + 2):
        rate = learning_rate_at(step, total, peak=1e-3, schedule=schedule.__name__, warmup_steps=warmup)
        assert rate == pytest.approx(1e-3 * schedule(step, warmup, total), rel=1e-12, abs=1e-18), step


@pytest.mark.parametrize("schedule", [linear, cosine, constant])
@pytest.mark.parametrize("warmup", [0, 26])
def test_the_rate_is_that_of_transformers_to_the_last_bit(schedule, warmup):
    name = schedule.__name__
    rates = [learning_rate_at(s, 420, peak=2e-5, schedule=name, warmup_steps=warmup) for s in range(421)]
    expected = [2e-5 * schedule(s, warmup, 420) for s in range(421)]
    different = [s for s in range(421) if rates[s] != expected[s]]
    assert not different, f"{len(different)} of 421 rates differ, the first at step {different[0]}"


@pytest.mark.parametrize("share, total, steps", [(0.06, 336, 21), (0.5, 7, 4), (0.001, 10, 1)])
def test_a_warm_up_below_1_is_a_share_of_all_steps_rounded_up(share, total, steps):
    for step in range(total):
        by_share = learning_rate_at(step, total, peak=1.0, schedule="linear", warmup_steps=share)
        assert by_share == learning_rate_at(step, total, peak=1.0, schedule="linear", warmup_steps=steps)


def test_a_schedule_starts_at_its_peak_and_ends_near_zero():
    rates = {
        name: [learning_rate_at(s, 100, peak=3e-4, schedule=name) for s in (0, 99)] for name in ("linear", "cosine")
    }
    assert rates["linear"] == [3e-4, pytest.approx(3e-6)]
    assert rates["cosine"][0] == 3e-4 and 0 < rates["cosine"][1] < 1e-6
    assert [learning_rate_at(s, 100, peak=3e-4, schedule="constant") for s in (0, 99)] == [3e-4, 3e-4]


def test_a_warmed_up_run_starts_at_zero_and_reaches_its_peak():
    rates = [learning_rate_at(s, 20, peak=1.0, schedule="linear", warmup_steps=4) for s in range(6)]
    assert rates == [0, 0.25, 0.5, 0.75, 1.0, pytest.approx(15 / 16)]


def test_biases_and_norms_do_not_decay_but_lora_and_the_head_do():
    model = Block()
    optimizer = build_optimizer(model, learning_rate=1e-3, weight_decay=0.01)
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert {name: decay[id(p)] for name, p in model.named_parameters()} == {
        "ln_1.weight": 0.0,
        "ln_1.bias": 0.0,
        "c_attn.weight": 0.01,
        "c_attn.bias": 0.0,
        "lora_A.weight": 0.01,
        "lora_B.weight": 0.01,
        "score.weight": 0.01,
    }
    assert {group["lr"] for group in optimizer.param_groups} == {1e-3}


def test_frozen_parameters_are_not_in_the_optimizer():
    model = Block().requires_grad_(False)
    model.lora_A.requires_grad_(True)
    (group,) = build_optimizer(model, 1e-3, 0.01).param_groups
    assert [id(p) for p in group["params"]] == [id(model.lora_A.weight)]
    with pytest.raises(UsageError, match="nothing to train"):
        build_optimizer(model.requires_grad_(False), 1e-3, 0.01)


def test_the_update_is_adamws():
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 2.0)
    optimizer = build_optimizer(model, learning_rate=0.1, weight_decay=0.5)
    model.weight.grad = torch.tensor([[3.0]])
    optimizer.step()
    # decay first, then lr * m / (sqrt(v) + eps) with both corrected for their start: the gradient's sign
    assert model.weight.item() == pytest.approx(2.0 * (1 - 0.1 * 0.5) - 0.1 * 3 / (3 + 1e-8), rel=1e-6)


def test_the_rate_is_set_in_every_group():
    optimizer = build_optimizer(Block(), 1e-3, 0.01)
    set_learning_rate(optimizer, 7e-4)
    assert [group["lr"] for group in optimizer.param_groups] == [7e-4, 7e-4]


@pytest.mark.parametrize("limit, left", [(1.0, 1.0), (2.5, 2.5), (100.0, 5.0), (0.0, 5.0)])
def test_gradients_are_clipped_by_their_common_norm_which_is_reported(limit, left):
    model = Block()
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    model.lora_A.weight.grad[0, 0] = 3.0  # a decaying and a plain parameter: one norm over all
    model.c_attn.bias.grad[0] = -4.0
    assert clip_gradients(model, limit) == 5.0
    after = torch.tensor([model.lora_A.weight.grad[0, 0], model.c_attn.bias.grad[0]])
    assert torch.allclose(after, torch.tensor([3.0, -4.0]) * left / 5, rtol=1e-5)


def test_a_gradient_that_is_no_number_shows_in_the_norm():
    model = nn.Linear(2, 2)
    model.weight.grad, model.bias.grad = torch.full((2, 2), float("nan")), torch.zeros(2)
    assert math.isnan(clip_gradients(model, 1.0))

"""Cheap dropout: the rate, the scale, independence, one seed for the masks, and the same mask on the way back."""

import pytest
import torch
from torch import nn

from training import dropout
from training.dropout import LANE, FastDropout

N = 4_000_000


def ones_dropped(p, n=N, seed=0, dtype=torch.float32):
    torch.manual_seed(seed)
    return FastDropout(p)(torch.ones(n, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9, 0.003])
def test_the_rate_is_p_and_the_scale_fits_it_exactly(p, dtype):
    y = ones_dropped(p, dtype=dtype)
    assert abs(round(p * LANE) / LANE - p) < 1e-5
    exact = round(p * LANE) / LANE
    rate = (y == 0).double().mean().item()
    assert abs(rate - exact) < 4 * (exact * (1 - exact) / N) ** 0.5
    assert y.max() == torch.tensor(1 / (1 - exact), dtype=torch.float64).to(dtype)
    assert ((y == 0) | (y == y.max())).all()


def test_both_lanes_of_a_word_have_the_rate():
    """The two halves of a tensor are decided by the two lanes of the same words."""
    y = ones_dropped(0.1) == 0
    for half in y.view(2, -1):
        assert abs(half.double().mean() - 6554 / LANE) < 4 * (0.09 / (N / 2)) ** 0.5


def test_neighbours_halves_calls_and_seeds_are_independent():
    kept = (ones_dropped(0.1) != 0).double() - 0.9
    one_more = (FastDropout(0.1)(torch.ones(N)) != 0).double() - 0.9
    other_seed = (ones_dropped(0.1, seed=1) != 0).double() - 0.9
    pairs = {f"lag {lag}": (kept[:-lag], kept[lag:]) for lag in (1, 2, 3, 4, 8, 64, 768, 3072, N // 2)}
    pairs |= {"next call": (kept, one_more), "other seed": (kept, other_seed)}
    for name, (a, b) in pairs.items():
        correlation = (a * b).mean().item() / 0.09
        assert abs(correlation) < 4.5 / len(a) ** 0.5, name


@pytest.mark.parametrize("shape", [(1,), (2,), (3,), (5,), (7, 3), (1, 1), (4, 0), (64, 33)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_any_shape_and_dtype(shape, dtype):
    x = torch.randn(shape).to(dtype).requires_grad_()
    y = FastDropout(0.5)(x)
    y.backward(torch.ones_like(y))
    assert y.shape == x.shape and y.dtype == dtype
    torch.testing.assert_close(y, x * x.grad, rtol=0, atol=0)  # a power of two: exact in every dtype


def test_the_way_back_uses_the_mask_of_the_way_there():
    x = torch.randn(300, 41, requires_grad=True)
    y = FastDropout(0.1)(x)
    y.backward(torch.ones_like(y))
    assert torch.equal(x.grad != 0, y != 0)
    torch.testing.assert_close(x.grad * x, y)


def test_a_strided_tensor_and_a_strided_gradient():
    x = torch.randn(41, 300, requires_grad=True)
    torch.manual_seed(0)
    y = FastDropout(0.1)(x.T)
    y.backward(torch.ones(300).expand(41, 300).T)
    torch.testing.assert_close((x.grad * x).T, y)
    torch.manual_seed(0)
    assert torch.equal(FastDropout(0.1)(x.T.contiguous()), y)


def test_zeros_infinities_and_nans_stay_what_they_are():
    x = torch.tensor([0.0, -0.0, torch.inf, -torch.inf, torch.nan]).repeat(1000)
    y = FastDropout(0.5)(x)
    assert y.isnan().sum() > 300 and (y == torch.inf).sum() > 300 and (y == -torch.inf).sum() > 300


def test_out_of_training_and_at_p_0_nothing_happens():
    x = torch.randn(9)
    state = torch.get_rng_state()
    assert FastDropout(0.0)(x) is x and FastDropout(0.5).eval()(x) is x
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("p", [1.0, 1e-7, 1 - 1e-7])
def test_a_p_that_rounds_to_0_or_1_is_left_to_torch(p):
    x = torch.randn(50)
    torch.manual_seed(0)
    y = FastDropout(p)(x)
    torch.manual_seed(0)
    assert torch.equal(y, nn.Dropout(p)(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_without_torchs_inner_step_the_same_masks_come_out(monkeypatch, dtype):
    def masks():
        return dropout.dropped(torch.ones(10_001, dtype=dtype), 6554, 3)

    assert dropout._has_threshold(torch.int32) and dropout._has_threshold(torch.int16)
    y = masks()
    assert (y == 0).float().mean().item() == pytest.approx(0.1, abs=0.015) and y.dtype == dtype
    monkeypatch.setattr(dropout, "_has_threshold", lambda dtype: False)
    assert torch.equal(masks(), y)


def test_a_broken_inner_step_is_noticed(monkeypatch):
    class Broken:
        @staticmethod
        def grad_input(bits, lanes, limit, grad_input):
            grad_input.copy_(bits)

    monkeypatch.setattr(torch.ops.aten, "threshold_backward", Broken)
    assert not dropout._has_threshold.__wrapped__(torch.int32)


def test_putting_it_in_changes_dropout_alone_and_can_be_undone():
    model = nn.Sequential(nn.Dropout(0.2), nn.Linear(2, 2), nn.Dropout1d(0.1), nn.Identity())
    kinds = [type(m) for m in model]
    dropout.use_fast(model)
    assert [type(m) for m in model] == [FastDropout, nn.Linear, nn.Dropout1d, nn.Identity]
    dropout.use_plain(model)
    assert [type(m) for m in model] == kinds

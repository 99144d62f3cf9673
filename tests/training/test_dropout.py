"""Cheap dropout: the rate, the scale, independence, one seed for the masks, and the same mask on the way back."""

import pytest
import torch
from torch import nn

from training import dropout
from training.dropout import FastDropout, dropped_positions

N = 4_000_000


def ones_dropped(p, n=N, seed=0, dtype=torch.float32):
    torch.manual_seed(seed)
    return FastDropout(p)(torch.ones(n, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9, 0.003])
def test_the_rate_is_p_and_the_scale_fits_it_exactly(p, dtype):
    y = ones_dropped(p, dtype=dtype)
    rate = (y == 0).double().mean().item()
    assert abs(rate - p) < 4 * (p * (1 - p) / N) ** 0.5
    assert y.max() == torch.tensor(1 / (1 - p), dtype=torch.float64).to(dtype)
    assert ((y == 0) | (y == y.max())).all()


def test_the_rate_holds_at_both_ends_of_a_tensor():
    y = (ones_dropped(0.1, n=1000 * 1000) == 0).double().view(1000, 1000)
    many = sum((ones_dropped(0.1, n=50, seed=seed) == 0).double() for seed in range(4000)) / 4000
    for name, rates, of in (("columns", y.mean(0), 1000), ("the first and last of many draws", many, 4000)):
        assert (rates - 0.1).abs().max() < 5 * (0.09 / of) ** 0.5, name


@pytest.mark.parametrize("p", [0.1, 0.5, 0.03])
def test_the_gaps_between_dropped_elements_are_geometric(p):
    gaps = dropped_positions(N, p, seed=7).diff()
    for k in range(1, 9):
        expected = (1 - p) ** (k - 1) * p
        share = (gaps == k).double().mean().item()
        assert abs(share - expected) < 4.5 * (expected * (1 - expected) / len(gaps)) ** 0.5, k


def test_a_second_round_of_draws_goes_on_where_the_first_ended(monkeypatch):
    """With too few draws a round, the positions are those of one long round."""
    monkeypatch.setattr(dropout.math, "sqrt", lambda x: -0.2 * x)  # -0.8 x more than the x expected
    at = dropped_positions(200_000, 0.1, seed=3)
    assert at.diff().min() >= 1 and at[0] >= 0 and at[-1] < 200_000
    assert abs(len(at) - 20_000) < 5 * (0.09 * 200_000) ** 0.5
    for part in at.double().histc(10, 0, 200_000):
        assert abs(part - 2000) < 5 * (0.09 * 20_000) ** 0.5


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


def test_at_p_1_it_is_torchs():
    x = torch.randn(50, requires_grad=True)
    assert torch.equal(FastDropout(1.0)(x), torch.zeros(50))


@pytest.mark.parametrize("p", [1e-7, 1 - 1e-7])
def test_a_p_next_to_0_or_1_drops_nothing_or_everything(p):
    assert ((ones_dropped(p, n=1000) == 0).double().mean() - p).abs() < 1e-3


def test_putting_it_in_changes_dropout_alone_and_can_be_undone():
    model = nn.Sequential(nn.Dropout(0.2), nn.Linear(2, 2), nn.Dropout1d(0.1), nn.Identity())
    kinds = [type(m) for m in model]
    dropout.use_fast(model)
    assert [type(m) for m in model] == [FastDropout, nn.Linear, nn.Dropout1d, nn.Identity]
    dropout.use_plain(model)
    assert [type(m) for m in model] == kinds


@pytest.mark.parametrize("p", [1e-12, 2e-18, 1e-18, 1e-30, 5e-324])
def test_at_a_rate_that_next_to_nothing_meets_positions_stay_within_the_tensor(p):
    for seed in range(50):
        at = dropped_positions(1000, p, seed)
        assert at.numel() == 0 or (at.min() >= 0 and at.max() < 1000)
        assert at.numel() <= 1

"""Dropout that is no bottleneck: it draws where the next dropped element stands instead of asking every element.

torch draws a number per element, one after the other; at GPT-2's shape that costs as much as the attention does. But
between two elements that independent draws would drop lies a geometrically distributed gap, and gaps can be drawn
directly: at p = 0.1 a tenth of the random numbers, and a tenth of the elements touched.

The random words come from numpy's SFC64, seeded by one draw a call from torch's global generator: `torch.manual_seed`
fixes the masks, and a checkpoint that stores torch's random state resumes to the bit.
"""

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_SMALLEST_P = 1e-15


class FastDropout(nn.Dropout):
    """nn.Dropout with other draws from the same distribution; where it is not written for, it is nn.Dropout."""

    def forward(self, x: Tensor) -> Tensor:  # any shape -> the same
        if not self.training or self.p == 0.0:
            return x
        if x.device.type != "cpu" or self.p == 1.0:
            return super().forward(x)
        return _Dropout.apply(x, self.p, torch.randint(2**63 - 1, ()).item())


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, p: float, seed: int) -> Tensor:
        at = dropped_positions(x.numel(), p, seed)
        ctx.save_for_backward(at)
        ctx.scale = 1 / (1 - p)
        return _scaled_but_zero(x, ctx.scale, at)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        (at,) = ctx.saved_tensors
        return _scaled_but_zero(grad, ctx.scale, at), None, None


def _scaled_but_zero(x: Tensor, scale: float, at: Tensor) -> Tensor:
    out = x.contiguous() * scale
    out.view(-1).index_fill_(0, at, 0.0)
    return out


def dropped_positions(n: int, p: float, seed: int) -> Tensor:
    """Which of n elements are dropped, each with probability p, independently: ascending indices, int64.

    For u uniform in (0, 1], floor(log u / log(1 - p)) + 1 is k with probability (1 - p)^(k - 1) p (Devroye 1986,
    chapter X.2): the distance from one dropped element to the next. u has 24 bits, all that float32 holds there.
    At a smaller p than _SMALLEST_P, where nobody will ever see an element dropped, gaps would overflow int64.
    """
    generator = np.random.SFC64(seed)
    found, last = [], -1
    while not found or last < n - 1:
        expected = (n - 1 - last) * p
        count = int(expected + 4 * math.sqrt(expected)) + 8  # a second round is rare
        words = torch.from_numpy(generator.random_raw(-(-count // 2)).view(np.int32))
        u = words.bitwise_and_((1 << 24) - 1).to(torch.float32).add_(1).mul_(2.0**-24)
        gaps = u.log_().mul_(1 / math.log1p(-max(p, _SMALLEST_P))).to(torch.int64).add_(1)
        gaps[0] += last
        found.append(gaps.cumsum_(0))
        last = int(gaps[-1])
    at = torch.cat(found) if len(found) > 1 else found[0]
    return at[: int(torch.searchsorted(at, n))]


def use_fast(model: nn.Module) -> None:
    """Every nn.Dropout in `model` draws its masks the cheap way from now on; nothing else about it changes."""
    for module in model.modules():
        if type(module) is nn.Dropout:
            module.__class__ = FastDropout


def use_plain(model: nn.Module) -> None:
    """The inverse of `use_fast`."""
    for module in model.modules():
        if type(module) is FastDropout:
            module.__class__ = nn.Dropout

"""Dropout that is no bottleneck: one cheap random word decides about four elements, and no mask is kept.

torch draws a float per element, one after the other; at GPT-2's shape that costs as much as the attention does. Here
a generator (numpy's SFC64) gives 64 random bits at a time, cut into 16-bit lanes, one lane an element. It is seeded
by one draw from torch's global generator a call, so `torch.manual_seed` fixes the masks and a checkpoint that stores
torch's random state resumes to the bit. The backward pass draws the same lanes again from the same seed.
"""

import functools

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

LANE = 1 << 16


class FastDropout(nn.Dropout):
    """nn.Dropout with other draws from the same distribution. p is rounded to k/65536; the scale fits that k exactly.

    Where it is not written for (another device than the CPU, p that rounds to 0 or 1) it is nn.Dropout.
    """

    def forward(self, x: Tensor) -> Tensor:  # any shape -> the same
        k = round(self.p * LANE)
        if not self.training or self.p == 0.0:
            return x
        if x.device.type != "cpu" or not 0 < k < LANE:
            return super().forward(x)
        return _Dropout.apply(x, k, torch.randint(2**63 - 1, ()).item())


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, k: int, seed: int) -> Tensor:
        ctx.k, ctx.seed = k, seed
        return dropped(x, k, seed)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        return dropped(grad, ctx.k, ctx.seed), None, None


def dropped(x: Tensor, k: int, seed: int) -> Tensor:
    """A new tensor: each element of `x` is 0 with probability k/65536, else divided by 1 - k/65536."""
    x = x.contiguous()
    n = x.numel()
    words = torch.from_numpy(np.random.SFC64(seed).random_raw(-(-n // 4)).view(np.int32))
    out = torch.empty_like(x)
    if x.dtype == torch.float32:
        # Two lanes a word: the high one for the first half of the elements, the low one, moved up, for the second.
        # What stands below the lane compared cannot change the verdict: the limit is a whole lane.
        half, bits, kept = -(-n // 2), x.view(-1).view(torch.int32), out.view(-1).view(torch.int32)
        limit = (k - LANE // 2) * LANE - 1
        keep_above(limit, words[:half], bits[:half], kept[:half])
        keep_above(limit, words[: n - half].bitwise_left_shift_(16), bits[half:], kept[half:])
    elif x.element_size() == 2:
        lanes, bits, kept = (t.view(-1).view(torch.int16) for t in (words, x, out))
        keep_above(k - LANE // 2 - 1, lanes[:n], bits, kept)
    else:
        lanes = words.view(torch.int16)[:n].view(x.shape)
        torch.where(lanes >= k - LANE // 2, x, torch.zeros((), dtype=x.dtype), out=out)
    return out.mul_(LANE / (LANE - k))


def keep_above(limit: int, lanes: Tensor, bits: Tensor, out: Tensor) -> None:
    """`out` = `bits` where `lanes` > `limit`, else 0; all are int32, or all int16, of one shape."""
    if _has_threshold(bits.dtype):
        torch.ops.aten.threshold_backward.grad_input(bits, lanes, limit, grad_input=out)
    else:
        torch.where(lanes > limit, bits, torch.zeros((), dtype=bits.dtype), out=out)


@functools.cache
def _has_threshold(dtype: torch.dtype) -> bool:
    """Whether torch's own inner step of relu's backward does this on whole numbers: one pass, and no mask of bools."""
    lowest, highest = torch.iinfo(dtype).min, torch.iinfo(dtype).max
    limit = lowest // 9
    lanes = torch.tensor([lowest, limit, limit + 1, highest], dtype=dtype).repeat(8)
    bits = torch.arange(-16, 16, dtype=dtype)
    out = torch.empty_like(bits)
    try:
        torch.ops.aten.threshold_backward.grad_input(bits, lanes, limit, grad_input=out)
    except (RuntimeError, AttributeError):
        return False
    return torch.equal(out, torch.where(lanes > limit, bits, 0))


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

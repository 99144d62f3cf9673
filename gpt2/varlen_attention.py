"""Attention over rows that stand back to back, for CUDA: FlashAttention's kernel, which is told where each row begins.

Dao 2023, "FlashAttention-2". The operator is private to torch: the public `varlen_attn` has no dropout, and jagged
tensors, which call the same kernel, cost milliseconds of Python a block. So it is tried before it is trusted, and
GroupedAttention is its twin. fp32 has no such kernel, and torch's memory-efficient one is no substitute: for rows of
different lengths its dropout draws one mask for all of them, and another one in the backward pass.
"""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpt2.packing import PackedRows, send


class VarlenAttention:
    """Causal attention within each row of a packed batch; the same as GroupedAttention, by another way."""

    def __init__(self, rows: PackedRows, H: int):
        self.rows, self.H = rows, H
        starts = torch.tensor([0, *rows.lengths]).cumsum(0).to(torch.int32)
        self.starts = send(starts, rows.order.device)  # (B+1,) where in N each row begins, and N

    def __call__(self, qkv: Tensor, dropout: nn.Module, pooled: bool) -> Tensor:
        """(N, 3 D) -> (N, D), or with `pooled` (B, D) for the last tokens alone."""
        N = len(qkv)
        q, k, v = qkv.view(N, 3, self.H, -1).unbind(1)  # (N, H, E)
        y = flash(q, k, v, self.starts, self.rows.lengths[0], dropout.p if dropout.training else 0.0)
        y = y.reshape(N, -1)
        return y[self.rows.last] if pooled else y


def flash(q: Tensor, k: Tensor, v: Tensor, starts: Tensor, longest: int, p: float) -> Tensor:
    """(N, H, E) each -> (N, H, E), causal within each row, with dropout `p`. 16 bits, on CUDA."""
    scale = q.shape[-1] ** -0.5
    forward = torch.ops.aten._flash_attention_forward
    return forward(q, k, v, starts, starts, longest, longest, p, True, False, scale=scale)[0]


@functools.lru_cache
def flash_works(device: torch.device, dtype: torch.dtype, E: int) -> bool:
    """Whether the kernel is there and gives what attention gives, found out once on two short rows."""
    if device.type != "cuda" or dtype not in (torch.bfloat16, torch.float16):
        return False
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        q, k, v = torch.arange(3 * 5 * 2 * E, device=device).sin().view(3, 5, 2, E)  # no draw: seeds stay as they are
        rows = [[t[at].transpose(0, 1) for t in (q, k, v)] for at in (slice(0, 3), slice(3, 5))]
        want = torch.cat([F.scaled_dot_product_attention(*row, is_causal=True).transpose(0, 1) for row in rows])
        starts = torch.tensor([0, 3, 5], dtype=torch.int32, device=device)
        try:
            got = flash(q.to(dtype), k.to(dtype), v.to(dtype), starts, 3, 0.0)
        except (AttributeError, RuntimeError, TypeError):  # not in this torch, not for this GPU, not for this E
            return False
        return bool(((got - want).abs() < 0.05).all())  # values are sines, with 8 bits in bf16

"""Attention over rows that stand back to back, for CUDA: one kernel that is told where each row begins.

torch has such kernels behind its jagged tensors: FlashAttention's in bf16 and fp16, the memory-efficient one in fp32,
both with dropout inside (Dao 2023, "FlashAttention-2"; Rabe & Staats 2021). There is none for a CPU, and this module
has never run on a GPU: it is off unless asked for.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpt2.packing import PackedRows, send


class JaggedAttention:
    """Causal attention within each row of a packed batch; the same as GroupedAttention, by another way."""

    def __init__(self, rows: PackedRows, H: int):
        self.rows, self.H = rows, H
        ends = torch.tensor([0, *rows.lengths]).cumsum(0)
        self.offsets = send(ends, rows.order.device)  # (B+1,) where in N each row begins, and N

    @staticmethod
    def fits(device: torch.device, E: int) -> bool:
        """Whether the kernels take heads that are E wide, on this device."""
        return device.type == "cuda" and E % 8 == 0

    def __call__(self, qkv: Tensor, dropout: nn.Module, pooled: bool) -> Tensor:
        """(N, 3 D) -> (N, D), or with `pooled` (B, D) for the last tokens alone."""
        q, k, v = (self._jagged(t) for t in qkv.view(len(qkv), 3, self.H, -1).unbind(1))  # (B, H, lengths, E)
        p = dropout.p if dropout.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=p, is_causal=True)
        y = y.transpose(1, 2).values().reshape(len(qkv), -1)
        return y[self.rows.last] if pooled else y

    def _jagged(self, x: Tensor) -> Tensor:
        # Without the two lengths torch would fetch them from the GPU.
        shortest, longest = self.rows.lengths[-1], self.rows.lengths[0]
        nested = torch.nested.nested_tensor_from_jagged(x, self.offsets, min_seqlen=shortest, max_seqlen=longest)
        return nested.transpose(1, 2)

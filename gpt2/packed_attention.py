"""Attention over rows that stand back to back, without the padding of a batch.

Neighbours, of which the longer comes first, form groups of similar length; only inside attention, and only
to the longest of its group, is a row filled up. A query never looks at what follows it, so filling up at the end
needs no mask; what the fill itself computes is dropped again.

Letters in the shapes:  B rows   N tokens of all rows   D n_embd   H heads   E = D/H
                        R rows of a group   L tokens of its longest   S = sum of R*H*L over the groups
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from gpt2.packing import PackedRows, send, take

GROUP = 8  # rows at most: more means fewer, larger products, and more fill


class GroupedAttention:
    """Causal attention within each row of a packed batch, in groups; made once for a batch, for all its blocks."""

    def __init__(self, rows: PackedRows, H: int):
        self.rows, self.H = rows, H
        self.groups: list[tuple[int, int]] = []  # (R, L) of each group
        size = torch.tensor(rows.lengths)
        start = size.cumsum(0) - size
        token, is_real, head = [], [], []
        for at in range(0, len(size), GROUP):
            within, L = slice(at, at + GROUP), rows.lengths[at]
            steps, lengths = torch.arange(L), size[within, None]
            shape = (len(lengths), H, L)
            self.groups.append((len(lengths), L))
            filled = start[within, None] + torch.minimum(steps, lengths - 1)  # fill repeats the last token
            token.append(filled[:, None].expand(shape).reshape(-1))
            is_real.append((steps < lengths)[:, None].expand(shape).reshape(-1))
            head.append(torch.arange(H)[:, None].expand(shape).reshape(-1))
        token, is_real, head = torch.cat(token), torch.cat(is_real), torch.cat(head)
        home = torch.empty(int(size.sum()) * H, dtype=torch.long)
        home[(token * H + head)[is_real]] = torch.arange(len(token))[is_real]
        device = rows.order.device
        # (3, S) for q, k, v and each slot of a group: which piece of E numbers of (N, 3, H) belongs there
        self.filled = send((token * 3 + torch.arange(3)[:, None]) * H + head, device)
        self.home = send(home.view(-1, H), device)  # (N, H) slot of each token and head

    def __call__(self, qkv: Tensor, dropout: nn.Module, pooled: bool) -> Tensor:
        """(N, 3 D) -> (N, D), or with `pooled` (B, D) for the last tokens alone."""
        N, H = self.home.shape
        E = qkv.shape[1] // (3 * H)
        parts = _Fill.apply(qkv, self)
        outputs, first = [], 0
        for i, (R, L) in enumerate(self.groups):
            q, k, v = parts[i :: len(self.groups)]  # (R H, L, E)
            bias = q.new_full((L, L), -torch.inf).triu(1)  # a query looks at itself and what stands before it
            if pooled:
                last = self.rows.last[first : first + R]
                q = qkv[last, : H * E].view(R * H, 1, E)
                bias = bias[self.rows.positions[last]].repeat_interleave(H, dim=0).unsqueeze(1)
                first += R
            outputs.append(_attend(q, k, v, bias, dropout).reshape(-1, E))  # on a GPU it need not lie in this order
        out = torch.cat(outputs)
        return out.view(-1, H * E) if pooled else take(out, self.home.view(-1)).view(N, H * E)


def _attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, dropout: nn.Module) -> Tensor:
    if not torch.is_grad_enabled() and not dropout.training and q.shape == k.shape:
        # As fast as the steps below on short rows; on long ones it never holds the (L, L) weights.
        return F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True)[0]
    scores = torch.baddbmm(bias, q, k.transpose(1, 2), alpha=q.shape[-1] ** -0.5)
    return torch.bmm(dropout(scores.softmax(dim=-1)), v)


class _Fill(torch.autograd.Function):
    """(N, 3 D) -> q of each group, k of each, v of each, (R H, L, E): heads apart, rows filled up, in one pass.

    Nothing that is read depends on the fill, so its gradient is 0 and the way back leaves it out.
    """

    @staticmethod
    def forward(ctx, qkv: Tensor, plan: GroupedAttention) -> tuple[Tensor, ...]:
        ctx.plan = plan
        H = plan.H
        E = qkv.shape[1] // (3 * H)
        pieces = qkv.reshape(-1, E).index_select(0, plan.filled.view(-1))
        sizes = [R * H * L for R, L in plan.groups]
        return tuple(part.view(-1, L, E) for part, (_, L) in zip(pieces.split(sizes * 3), plan.groups * 3))

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads: Tensor):
        home, S = ctx.plan.home, ctx.plan.filled.shape[1]
        N, E = len(home), grads[0].shape[2]
        at = torch.stack([home + part * S for part in range(3)], dim=1)  # (N, 3, H)
        pieces = torch.cat([grad.reshape(-1, E) for grad in grads])
        return pieces.index_select(0, at.view(-1)).view(N, -1), None

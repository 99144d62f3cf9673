"""Attention over rows that stand back to back, without the padding of a batch.

The longest row comes first. Neighbours in that order form groups of similar length; only inside attention, and only
to the longest of its group, is a row filled up. A query never looks at what follows it, so filling up at the end
needs no mask; what the fill itself computes is dropped again.

Letters in the shapes:  B rows   N tokens of all rows   D n_embd   H heads   E = D/H
                        R rows of a group   L tokens of its longest   S = sum of R*H*L over the groups
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

GROUP = 8  # rows at most: more means fewer, larger products, and more fill


@dataclass(frozen=True)
class PackedRows:
    """Where the tokens of a right-padded batch stand when its rows are put back to back, longest first."""

    order: Tensor  # (B,) which row of the batch is first, second, ...
    tokens: Tensor  # (N,) index of each token in the flattened (B, T) batch
    positions: Tensor  # (N,) 0, 1, 2, ... within each row
    last: Tensor  # (B,) index in N of each row's last token, in `order`
    groups: list[tuple[int, int]]  # (R, L) of each group
    filled: Tensor  # (3, S) for q, k, v and each slot of a group: which piece of E numbers of (N, 3, H) belongs there
    home: Tensor  # (N, H) slot of each token and head

    @classmethod
    def of(cls, lengths: list[int], T: int, H: int) -> "PackedRows":
        """`lengths` are the tokens of each row, 1 to T, in a batch that is T wide."""
        order = torch.tensor(sorted(range(len(lengths)), key=lambda row: -lengths[row]))
        size = torch.tensor(lengths)[order]
        steps = torch.arange(int(size[0]))
        real = steps < size[:, None]  # (B, longest)
        start = size.cumsum(0) - size
        groups, token, is_real = [], [], []
        for at in range(0, len(lengths), GROUP):
            rows, L = slice(at, at + GROUP), int(size[at])
            within = torch.minimum(steps[:L], size[rows, None] - 1)  # fill repeats the last token
            shape = (len(within), H, L)
            groups.append((len(within), L))
            token.append((start[rows, None] + within)[:, None].expand(shape).reshape(-1))
            is_real.append(real[rows, None, :L].expand(shape).reshape(-1))
        token, is_real = torch.cat(token), torch.cat(is_real)
        head = torch.cat([torch.arange(H)[:, None].expand(R, H, L).reshape(-1) for R, L in groups])
        home = torch.empty(int(size.sum()) * H, dtype=torch.long)
        home[(token * H + head)[is_real]] = torch.arange(len(token))[is_real]
        return cls(
            order=order,
            tokens=(order[:, None] * T + steps)[real],
            positions=steps.expand_as(real)[real],
            last=start + size - 1,
            groups=groups,
            filled=(token * 3 + torch.arange(3)[:, None]) * H + head,
            home=home.view(-1, H),
        )


def packed_attention(qkv: Tensor, rows: PackedRows, dropout: nn.Module, pooled: bool) -> Tensor:
    """Causal attention within each row: (N, 3 D) -> (N, D), or with `pooled` (B, D) for the last tokens alone."""
    N, H = rows.home.shape
    E = qkv.shape[1] // (3 * H)
    parts = _Fill.apply(qkv, rows)
    outputs, first = [], 0
    for i, (R, L) in enumerate(rows.groups):
        q, k, v = parts[i :: len(rows.groups)]  # (R H, L, E)
        bias = q.new_full((L, L), -torch.inf).triu(1)  # a query looks at itself and what stands before it
        if pooled:
            last = rows.last[first : first + R]
            q = qkv[last, : H * E].view(R * H, 1, E)
            bias = bias[rows.positions[last]].repeat_interleave(H, dim=0).unsqueeze(1)
            first += R
        outputs.append(_attend(q, k, v, bias, dropout).view(-1, E))
    out = torch.cat(outputs)
    return out.view(-1, H * E) if pooled else _Unfill.apply(out, rows.home.view(-1)).view(N, H * E)


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
    def forward(ctx, qkv: Tensor, rows: PackedRows) -> tuple[Tensor, ...]:
        ctx.rows = rows
        H = rows.home.shape[1]
        E = qkv.shape[1] // (3 * H)
        pieces = qkv.reshape(-1, E).index_select(0, rows.filled.view(-1))
        sizes = [R * H * L for R, L in rows.groups]
        return tuple(part.view(-1, L, E) for part, (_, L) in zip(pieces.split(sizes * 3), rows.groups * 3))

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads: Tensor):
        N, H = ctx.rows.home.shape
        E, S = grads[0].shape[2], ctx.rows.filled.shape[1]
        home = torch.stack([ctx.rows.home + part * S for part in range(3)], dim=1)  # (N, 3, H)
        pieces = torch.cat([grad.reshape(-1, E) for grad in grads])
        return pieces.index_select(0, home.view(-1)).view(N, -1), None


class _Unfill(torch.autograd.Function):
    """x[home], no entry taken twice; what is not taken gets gradient 0."""

    @staticmethod
    def forward(ctx, x: Tensor, home: Tensor) -> Tensor:
        ctx.save_for_backward(home)
        ctx.length = len(x)
        return x.index_select(0, home)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        (home,) = ctx.saved_tensors
        return grad.new_zeros(ctx.length, grad.shape[1]).index_copy_(0, home, grad), None

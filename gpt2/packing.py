"""The rows of a batch back to back, as one (N, D) tensor without padding.

All that says where a token stands is worked out on the CPU, from the lengths, and sent ahead: reading a number back
from a GPU would wait until it has done everything it was asked for before.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


@dataclass(frozen=True)
class PackedRows:
    """Where the tokens of a right-padded batch stand when its rows are put back to back, longest first."""

    lengths: list[int]  # tokens of each row, falling
    order: Tensor  # (B,) which row of the batch is first, second, ...
    tokens: Tensor  # (N,) index of each token in the flattened (B, T) batch
    positions: Tensor  # (N,) 0, 1, 2, ... within each row
    last: Tensor  # (B,) index in N of each row's last token, in `order`

    @classmethod
    def of(cls, lengths: list[int], T: int, device: torch.device) -> "PackedRows":
        """`lengths` are the tokens of each row, 1 to T, in a batch that is T wide; the tensors will be on `device`."""
        order = torch.tensor(sorted(range(len(lengths)), key=lambda row: -lengths[row]))
        size = torch.tensor(lengths)[order]
        steps = torch.arange(int(size[0]))
        real = steps < size[:, None]  # (B, longest)
        tensors = (order, (order[:, None] * T + steps)[real], steps.expand_as(real)[real], size.cumsum(0) - 1)
        return cls(size.tolist(), *tensors).to(device)

    def to(self, device: torch.device) -> "PackedRows":
        tensors = (self.order, self.tokens, self.positions, self.last)
        return PackedRows(self.lengths, *(send(tensor, device) for tensor in tensors))


def take(x: Tensor, at: Tensor) -> Tensor:
    """x[at] for an index without repetition: then its gradient is copied home, and nothing has to be added up."""
    return _Take.apply(x, at)


class _Take(torch.autograd.Function):
    """What is not taken gets gradient 0."""

    @staticmethod
    def forward(ctx, x: Tensor, at: Tensor) -> Tensor:
        ctx.save_for_backward(at)
        ctx.length = len(x)
        return x.index_select(0, at)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        (at,) = ctx.saved_tensors
        return grad.new_zeros(ctx.length, grad.shape[1]).index_copy_(0, at, grad), None


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor` on `device`: from the CPU to a GPU without waiting for what it is still doing."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)

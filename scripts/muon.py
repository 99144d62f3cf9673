"""Muon: momentum whose update is made orthogonal, so that no direction of a matrix learns much faster than another.

K. Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"; the factor 0.2 sqrt(longer side) is
that of Liu et al. 2025, arXiv 2502.16982: with it AdamW's learning rates and weight decay can be kept. torch.optim.Muon
is not used for two reasons: it multiplies in bf16, which many CPUs only emulate, and it takes a matrix whole, where
GPT-2's c_attn is three (q, k and v side by side).
"""

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

_QUINTIC = (3.4445, -4.7750, 2.0315)  # Jordan's: steepest at 0, keeps singular values near 1 in about 0.7 to 1.2


class Muon(torch.optim.Optimizer):
    """`matrices` are pairs of a parameter (m, n) and the number of matrices that lie side by side in it.

    The products run in `dtype`; weights, momentum and updates stay as they are.
    """

    def __init__(
        self, matrices: Sequence[tuple[nn.Parameter, int]], lr: float, weight_decay: float = 0.1,
        momentum: float = 0.95, dtype: torch.dtype = torch.float32,
    ):  # fmt: skip
        super().__init__([p for p, _ in matrices], {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        self.parts = {parameter: parts for parameter, parts in matrices}
        self.dtype = dtype

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            alike = defaultdict(list)  # matrices of one shape are made orthogonal together
            for parameter in group["params"]:
                pieces = self._momentum(parameter, group["momentum"]).chunk(self.parts[parameter], dim=1)
                targets = parameter.chunk(self.parts[parameter], dim=1)
                alike[pieces[0].shape].extend(zip(targets, pieces))
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
            for shape, pairs in alike.items():
                updates = orthogonal(torch.stack([piece for _, piece in pairs]).to(self.dtype))
                for (target, _), update in zip(pairs, updates.to(pairs[0][0].dtype)):
                    target.sub_(update, alpha=group["lr"] * 0.2 * max(shape) ** 0.5)

    def _momentum(self, parameter: nn.Parameter, momentum: float) -> Tensor:
        """Nesterov's: the gradient, and the running mean one step ahead."""
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].lerp_(parameter.grad, 1 - momentum)
        return parameter.grad.lerp(state["momentum"], momentum)


class Joined(torch.optim.Optimizer):
    """Several optimizers, each of its own parameters, as one: its groups are theirs, and all states stand in one dict.

    A loop that steps, schedules and saves one optimizer does so with all of them.
    """

    def __init__(self, *optimizers: torch.optim.Optimizer):
        super().__init__([group for optimizer in optimizers for group in optimizer.param_groups], {})
        self.optimizers = optimizers
        for optimizer in optimizers:
            optimizer.state = self.state

    def step(self) -> None:
        for optimizer in self.optimizers:
            optimizer.step()


def orthogonal(matrices: Tensor, steps: int = 5) -> Tensor:
    """(..., m, n) -> the same singular vectors with all singular values near 1 (Newton-Schulz)."""
    a, b, c = _QUINTIC
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices  # x x^T is the smaller of the two products
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if tall else x

"""What a low-rank update is made of: its singular values, found from A and B without ever multiplying them out.

An update dW = s B A is a sum of r directions: dW = U S V^T, the strongest first (Eckart & Young 1936). A and B are
thin, so the work goes with r: B = Qb Rb and A^T = Qa Ra are orthonormal times small, and what is left to decompose,
Rb Ra^T, is r x r. Full fine-tuning knows no such shortcut: its dense dW is looked at through its Gram matrix.

Letters in the shapes:  r rank   k directions that are kept   in, out  of the layer
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Spectrum:
    """An update as its directions: `left` (out, k) and `right` (in, k) orthonormal, `values` (k,) falling; float64."""

    left: Tensor
    values: Tensor
    right: Tensor

    @classmethod
    def of(cls, A: Tensor, B: Tensor, scaling: float) -> "Spectrum":
        """Of scaling * B A, from A (r, in) and B (out, r). There are min(r, in, out) directions."""
        Qb, Rb = torch.linalg.qr(B.double())  # (out, min(out, r)), (min(out, r), r)
        Qa, Ra = torch.linalg.qr(A.double().T)  # (in, min(in, r)), (min(in, r), r)
        U, S, Vh = torch.linalg.svd(Rb @ Ra.T, full_matrices=False)
        return cls(Qb @ U, S * scaling, Qa @ Vh.T)

    @property
    def norm(self) -> float:
        """|dW|, Frobenius."""
        return float(self.values.norm())

    @property
    def rank(self) -> int:
        """The number of directions that hold anything: float32 knows seven digits."""
        return int((self.values > self.values.max() * 1e-6).sum()) if len(self.values) else 0

    def cut(self, rank: int) -> tuple[Tensor, Tensor]:
        """A (k, in) and B (out, k) of the best update of that rank: B A is the sum of the strongest directions."""
        S = self.values[:rank].sqrt()
        return S[:, None] * self.right[:, :rank].T, self.left[:, :rank] * S


def stable_rank(values: Tensor) -> float:
    """|dW|^2 over the square of its largest singular value: how many directions the update is worth; 0 of nothing."""
    largest = float(values.max()) if len(values) else 0.0
    return float((values / largest).square().sum()) if largest > 0 else 0.0


def dense_values(update: Tensor) -> Tensor:
    """All singular values of a matrix, falling, in float64, from the Gram matrix of its shorter side.

    Squared values lose half of the digits: those below 1e-8 of the largest mean nothing.
    """
    wide = update.double()
    gram = wide @ wide.T if wide.shape[0] < wide.shape[1] else wide.T @ wide
    return torch.linalg.eigvalsh(gram).clamp_min(0).sqrt().flip(0)


def energy_in(values: Tensor, k: int) -> float:
    """The share of |dW|^2 that lies in the k strongest directions; 1 where there is nothing."""
    squares = values.square()
    return float(squares[:k].sum() / squares.sum()) if squares.sum() > 0 else 1.0


def overlap(directions: Tensor, update: Tensor) -> float:
    """The share of |update|^2 that lies in `directions` (out, k), which are orthonormal; `update` is (out, in).

    For k random directions it is k / out on average. 0 where there is nothing.
    """
    whole = update.double()
    energy = whole.square().sum()
    return float((directions.double().T @ whole).square().sum() / energy) if energy > 0 else 0.0

"""Exercise 9: the product of the two factors against the singular values of B A, cut."""

from collections.abc import Callable

import torch
from torch import Tensor

from exercises.judge import Wrong, compare

TITLE = "Cut an update's rank"
CHAPTER = "docs/07-what-was-learned.md"
HINT = "U, S, Vh = torch.linalg.svd(B @ A, full_matrices=False); the first k of each, and S must stand in one factor."
SEE = "anatomy/spectrum.py, Spectrum"


def from_svd(A: Tensor, B: Tensor, factors: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]) -> Tensor:
    small, large = factors(*torch.linalg.svd(B @ A, full_matrices=False))
    return large @ small


MISTAKES = {
    "you keep the first k rows of A and columns of B: they are in no order of importance": (
        lambda A, B, k: B[:, :k] @ A[:k]
    ),
    "you cut A and B each by its own singular values: what counts is their product": lambda A, B, k: (
        nearest(B, k) @ nearest(A, k)
    ),
    "the singular values are missing: U Vh has only the directions": lambda A, B, k: from_svd(
        A, B, lambda U, S, Vh: (Vh[:k], U[:, :k])
    ),
    "the singular values stand in both factors: their product then has the squares": lambda A, B, k: from_svd(
        A, B, lambda U, S, Vh: (S[:k, None] * Vh[:k], U[:, :k] * S[:k])
    ),
    "you keep the smallest singular values; torch gives the largest first": lambda A, B, k: from_svd(
        A, B, lambda U, S, Vh: (S[len(A) - k : len(A), None] * Vh[len(A) - k : len(A)], U[:, len(A) - k : len(A)])
    ),
    "you keep the last singular values: torch gives the largest first, and beyond the rank they are zero": (
        lambda A, B, k: from_svd(A, B, lambda U, S, Vh: (S[-k:, None] * Vh[-k:], U[:, -k:]))
    ),
    "the root of the singular values must stand in both factors, or the whole of them in one": lambda A, B, k: from_svd(
        A, B, lambda U, S, Vh: (S[:k, None].sqrt() * Vh[:k], U[:, :k])
    ),
}


def nearest(matrix: Tensor, k: int) -> Tensor:
    U, S, Vh = torch.linalg.svd(matrix, full_matrices=False)
    return U[:, :k] * S[:k] @ Vh[:k]


def check(cut_rank: Callable) -> None:
    def case(r: int, n_in: int, n_out: int, k: int) -> tuple:
        return torch.randn(r, n_in), torch.randn(n_out, r), k

    def product(A: Tensor, B: Tensor, k: int) -> Tensor:
        small, large = cut_rank(A, B, k)
        return large @ small

    check_shapes(cut_rank, *case(4, 6, 5, 2))
    cases = {
        "cut_rank(A of (4, 6), B of (5, 4), k=2)": case(4, 6, 5, 2),
        "cut_rank(A of (3, 4), B of (4, 3), k=1)": case(3, 4, 4, 1),
    }
    compare(product, lambda A, B, k: nearest(B @ A, k), cases, MISTAKES, tolerance=1e-4)


def check_shapes(cut_rank: Callable, A: Tensor, B: Tensor, k: int) -> None:
    r, right = len(A), [(k, A.shape[1]), (B.shape[0], k)]
    got = [tuple(factor.shape) for factor in cut_rank(A, B, k)]
    if got == [A.shape, B.shape]:
        raise Wrong(f"nothing is cut: the factors still have {r} rows and columns, not {k}")
    if got == right[::-1]:
        raise Wrong("the factors change places: return A's first, (k, in), then B's, (out, k)")
    if got != right:
        hint = ": torch.linalg.svd returns Vh, whose rows are the directions" * (got[0] == (k, min(A.shape[1], len(B))))
        raise Wrong(f"A's factor must have the shape {right[0]} and B's {right[1]}; got {got[0]} and {got[1]}{hint}")

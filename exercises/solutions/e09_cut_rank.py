"""Exercise 9: the singular values of B A are those of a matrix of r by r."""

import torch


def cut_rank(A: torch.Tensor, B: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    Q_B, R_B = torch.linalg.qr(B)
    Q_A, R_A = torch.linalg.qr(A.T)
    U, S, Vh = torch.linalg.svd(R_B @ R_A.T)
    return Vh[:k] @ Q_A.T, Q_B @ U[:, :k] * S[:k]

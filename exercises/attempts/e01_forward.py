"""Exercise 1: the forward of a LoRA layer. Chapter: docs/01-rank-one.md."""

import torch


def lora_forward(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, A: torch.Tensor, B: torch.Tensor, scaling: float
) -> torch.Tensor:
    """What a linear layer with LoRA beside it gives:  h = W0 x + b + scaling * B A x

    x        (..., in): any number of dimensions, the features last
    weight   (out, in): W0, as nn.Linear stores it
    bias     (out,)
    A        (r, in)
    B        (out, r)
    returns  (..., out)

    In rows, "W0 x" is `x @ weight.T`. With x = [1, 2], W0 the identity, b = 0, A = [[1, 1]], B = [[1], [0]] and
    scaling = 10:  A x = 3,  B A x = [3, 0],  h = [1, 2] + 10 * [3, 0] = [31, 2].
    """
    raise NotImplementedError("yours to write: return W0 x + b with the scaled update B A x added")

"""Exercise 2: how A and B start. Chapter: docs/02-lora-layer.md, "Why B starts at zero" and "Why not both"."""

import torch


def init_lora(in_features: int, out_features: int, r: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A and B as peft starts them.

    A   (r, in_features): uniform between -1/sqrt(in_features) and +1/sqrt(in_features)
    B   (out_features, r): zero

    For in_features = 1024 the bound of A is 1/32 = 0.03125, whatever r is. torch.nn.init.kaiming_uniform_ with
    a=sqrt(5) gives just that bound, because it takes the second dimension for "in".
    """
    raise NotImplementedError("yours to write: return A, B")

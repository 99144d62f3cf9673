"""Exercise 2: B A is zero at the start, and B's gradient is not, because A is not."""

import math

import torch


def init_lora(in_features: int, out_features: int, r: int) -> tuple[torch.Tensor, torch.Tensor]:
    bound = 1 / math.sqrt(in_features)
    return torch.empty(r, in_features).uniform_(-bound, bound), torch.zeros(out_features, r)

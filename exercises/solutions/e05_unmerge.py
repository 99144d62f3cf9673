"""Exercise 5: (W0 + delta) - delta is not W0 in floating point, so W0 itself is kept."""

import torch
from torch import nn


def merge(layer: nn.Module, delta: torch.Tensor) -> None:
    if getattr(layer, "unmerged", None) is None:
        layer.unmerged = layer.weight.data
        layer.weight.data = layer.weight.data + delta  # a new tensor: the one kept stays as it is


def unmerge(layer: nn.Module) -> None:
    if getattr(layer, "unmerged", None) is not None:
        layer.weight.data = layer.unmerged
        layer.unmerged = None

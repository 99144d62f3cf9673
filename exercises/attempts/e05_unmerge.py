"""Exercise 5: merge, and back to the bit. Chapter: docs/03-merging.md, "Why merged is not to the bit"."""

import torch
from torch import nn


def merge(layer: nn.Module, delta: torch.Tensor) -> None:
    """Add `delta` to `layer.weight`, which has its shape, and keep what `unmerge` needs, as an attribute of the layer.

    `layer.weight` stays the same Parameter: an optimizer or a tied embedding may hold it. Change its values or its
    `.data`. Merging a layer that is merged already does nothing.
    """
    raise NotImplementedError("yours to write: add delta to the weight, keeping a way back")


def unmerge(layer: nn.Module) -> None:
    """`layer.weight` as it was before `merge`, in every bit. On a layer that is not merged it does nothing."""
    raise NotImplementedError("yours to write: put the weight back")

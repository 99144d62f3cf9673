"""Exercise 12: sums over the rows of each batch, divided by the rows of all."""

from collections.abc import Callable

import torch
import torch.nn.functional as F


def accumulate(model: Callable, batches: list[tuple[torch.Tensor, torch.Tensor]]) -> float:
    rows = sum(len(labels) for _, labels in batches)
    total = 0.0
    for x, labels in batches:
        loss = F.cross_entropy(model(x), labels, reduction="sum") / rows
        loss.backward()
        total += loss.item()
    return total

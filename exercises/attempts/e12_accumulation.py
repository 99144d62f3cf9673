"""Exercise 12: accumulate gradients. Chapter: docs/10-loop.md, "Accumulation, and the mean of means"."""

from collections.abc import Callable

import torch


def accumulate(model: Callable, batches: list[tuple[torch.Tensor, torch.Tensor]]) -> float:
    """Leave in the parameters' .grad the gradient that one batch of all the rows would give; return its loss.

    batches   pairs (x, labels): x is (rows, features), labels is (rows,); the last pair has fewer rows
    model     model(x) is (rows, classes): the logits
    loss      the mean cross entropy over all rows of all batches

    Only one batch may go through the model at a time: that is what accumulation is for. The gradients are empty when
    you come in, and the optimizer is somebody else's business. torch.nn.functional.cross_entropy has
    reduction="mean" (its default) and reduction="sum".
    """
    raise NotImplementedError("yours to write: backward each batch, weighed right; return the mean loss as a float")

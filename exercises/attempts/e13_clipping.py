"""Exercise 13: clip by the global norm. Chapter: docs/10-loop.md, "Clip the whole, not the parts"."""

import torch


def clip_gradients(gradients: list[torch.Tensor], max_norm: float) -> float:
    """Scale all gradients, in place and by one factor, so that their common norm is at most `max_norm`.

    The common norm is that of all the numbers in one long vector: for tensors of norms 3, 4 and 12 it is 13, and
    clipping that to 1 multiplies every number by 1/13. Gradients whose common norm is `max_norm` or less stay as they
    are. Returns the norm before clipping, a float. `gradient.mul_(factor)` works in place.
    """
    raise NotImplementedError("yours to write: scale the gradients in place, return their common norm before that")

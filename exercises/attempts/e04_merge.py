"""Exercise 4: fold an adapter into a Conv1D. Chapter: docs/03-merging.md, "Folding B A into the weights"."""

import torch


def merged_weight(weight: torch.Tensor, A: torch.Tensor, B: torch.Tensor, scaling: float) -> torch.Tensor:
    """The weight that makes the plain layer compute what the layer with LoRA does.

    weight   (in, out), as GPT-2's Conv1D stores it: the layer computes x @ weight + bias
    A        (r, in)
    B        (out, r)
    returns  (in, out), a new tensor of weight's dtype; `weight` itself is left as it is

    With in = out = 2, weight zero, A = [[1, 2]], B = [[3], [5]] and scaling = 10:

        [[30,  50],
         [60, 100]]

    Where the weight is bfloat16, A and B stay float32. Add in float32 and round the sum, once, at the end.
    """
    raise NotImplementedError("yours to write: return the merged weight, (in, out)")

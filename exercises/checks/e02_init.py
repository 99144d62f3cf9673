"""Exercise 2: shapes, then B, then how A is spread, over enough numbers that chance plays no part."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from exercises.judge import Wrong, shown

TITLE = "How A and B start"
CHAPTER = "docs/02-lora-layer.md"
HINT = "torch.empty(r, in_features).uniform_(-bound, bound) draws A; B needs no draw."
SEE = "lora/layer.py, LoraLayer.add_adapter"
IN, OUT, R = 1024, 512, 16  # 1/sqrt(in) = 0.031, 1/sqrt(r) = 0.25, 1/r = 0.0625: far apart


def check(init_lora: Callable) -> None:
    A, B = pair(init_lora(IN, OUT, R))
    if not A.any() and not B.any():
        raise Wrong("A and B are both zero: each is the other's gradient, so neither will ever move")
    if not A.any():
        raise Wrong("A is zero and B is random: it starts as well, but in LoRA, and in peft's files, B is the zero one")
    if B.any():
        raise Wrong("your B is not zero, so the model changed before training")
    if torch.equal(A, pair(init_lora(IN, OUT, R))[0]):
        raise Wrong("A is the same at every call: draw it at random, or all layers start alike")
    judge_spread(A)
    for n_in, n_out, r in ((64, 8, 4), (4096, 4, 64)):
        A, B = pair(init_lora(n_in, n_out, r), n_in, n_out, r)
        if not 0.8 / math.sqrt(n_in) < A.abs().max().item() <= 1.0001 / math.sqrt(n_in) or B.any():
            raise Wrong(f"right for in_features={IN}, not for {n_in}: the bound must follow in_features")


def pair(returned: object, n_in: int = IN, n_out: int = OUT, r: int = R) -> tuple[Tensor, Tensor]:
    """A and B out of what was returned, if their shapes are right."""
    if not isinstance(returned, tuple | list) or len(returned) != 2:
        raise Wrong(f"return two tensors, A and B; got {shown(returned)}")
    A, B = returned
    for name, tensor in (("A", A), ("B", B)):
        if not isinstance(tensor, Tensor):
            raise Wrong(f"{name} is no tensor but {shown(tensor)}")
    right = {"A": (r, n_in), "B": (n_out, r)}
    got = {"A": tuple(A.shape), "B": tuple(B.shape)}
    if got == {"A": right["B"], "B": right["A"]}:
        raise Wrong("A and B change places: A is (r, in) and is applied first")
    for name in right:
        if got[name] == right[name][::-1]:
            raise Wrong(f"{name} lies the other way round: it is {right[name]}, yours is {got[name]}")
        if got[name] != right[name]:
            raise Wrong(f"{name} must have shape {right[name]}, yours is {got[name]}")
    for name, tensor in (("A", A), ("B", B)):
        if not torch.isfinite(tensor).all():
            raise Wrong(f"{name} holds NaN or infinite values (torch.empty alone is not filled)")
    return A.detach().float(), B.detach().float()


def judge_spread(A: Tensor) -> None:
    """For 16,384 numbers the largest and the standard deviation are known to a few per cent."""
    bound, largest, std = 1 / math.sqrt(IN), A.abs().max().item(), A.std().item()
    if A.min() >= 0 or A.max() <= 0:
        raise Wrong("A has one sign only: torch.rand is between 0 and 1; the range is -bound to +bound")
    uniform = abs(std / largest - 1 / math.sqrt(3)) < 0.02
    found = {
        1 / math.sqrt(R): "A goes up to 1/sqrt(r): the bound hangs on in_features; was it drawn as (in, r) and turned?",
        math.sqrt(6 / IN): "A goes up to sqrt(6/in): that is kaiming_uniform_ without a=sqrt(5)",
        1.0: "A goes up to 1: the bound is 1/sqrt(in_features)",
        1 / IN: "A goes up to 1/in: the root is missing, the bound is 1/sqrt(in_features)",
    }
    for other, message in found.items():
        if uniform and abs(largest / other - 1) < 0.02:
            raise Wrong(message)
    normal = {
        1.0: "A is drawn from N(0, 1): far too large, and the bound is missing",
        1 / R: "A is drawn from N(0, 1/r): that is init_lora_weights='gaussian', not the default",
        bound: "A is drawn from a normal distribution: it has no bound; take a uniform one",
    }
    for spread, message in normal.items():
        if not uniform and abs(std / spread - 1) < 0.03:
            raise Wrong(message)
    if not uniform or not 0.98 * bound < largest <= 1.0001 * bound:
        raise Wrong(f"A must be uniform up to {bound:.5f}; yours goes to {largest:.5f} (standard deviation {std:.5f})")

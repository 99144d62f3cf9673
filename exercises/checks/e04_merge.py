"""Exercise 4: against LoraLayer.merge on a Conv1D; a square one, where a forgotten transpose raises no error."""

from collections.abc import Callable

import torch
from torch import Tensor

from exercises.judge import Wrong, compare
from gpt2.model import Conv1D
from lora.layer import LoraLayer

TITLE = "Merge into a Conv1D"
CHAPTER = "docs/03-merging.md"
HINT = "B @ A is (out, in) and the weight is (in, out): turn one of them; .float() before the sum, .to(dtype) after it."
SEE = "lora/layer.py, LoraLayer.delta_weight and merge"


def by_the_project(weight: Tensor, A: Tensor, B: Tensor, scaling: float) -> Tensor:
    base = Conv1D(*weight.shape[::-1])
    base.weight.data = weight
    layer = LoraLayer(base)
    layer.add_adapter("default", A.shape[0], scaling, 0.0)
    layer.lora_A["default"].weight.data, layer.lora_B["default"].weight.data = A, B
    layer.active_adapters = ["default"]
    layer.merge()
    return base.weight.detach()


def in_float32(change: Callable) -> Callable:
    return lambda W, A, B, s: change(W.float(), A, B, s).to(W.dtype)


MISTAKES = {
    "B A is (out, in) and a Conv1D's weight (in, out): transpose it. Where in = out, no error tells you": in_float32(
        lambda W, A, B, s: W + s * (B @ A)
    ),
    "the scaling is missing": in_float32(lambda W, A, B, s: W + (B @ A).T),
    "that is the update alone: W0 is missing": lambda W, A, B, s: (s * (B @ A).T).to(W.dtype),
    "the update must be added, not taken away": in_float32(lambda W, A, B, s: W - s * (B @ A).T),
    "you turned the whole sum: the merged weight must lie as the weight lay": in_float32(
        lambda W, A, B, s: W.T + s * (B @ A)
    ),
    "you scaled W0 too": in_float32(lambda W, A, B, s: s * (W + (B @ A).T)),
    "right in float32; the merged weight must have the weight's own dtype, here bfloat16": lambda W, A, B, s: (
        W.float() + s * (B @ A).T
    ),
    "right in float32; for bfloat16 you rounded twice, the update and the sum: add in float32, round at the end": (
        lambda W, A, B, s: W + (s * (B @ A).T).to(W.dtype)
    ),
    "right in float32; for bfloat16 you rounded A and B as well: round once, at the end": lambda W, A, B, s: (
        W + s * (B.to(W.dtype) @ A.to(W.dtype)).T
    ),
}


def check(merged_weight: Callable) -> None:
    def case(n_in: int, n_out: int, r: int, scaling: float, dtype: torch.dtype) -> tuple:
        return torch.randn(n_in, n_out).to(dtype), torch.randn(r, n_in), torch.randn(n_out, r), scaling

    square, wide = case(6, 6, 2, 2.0, torch.float32), case(4, 12, 3, 0.5, torch.float32)
    half = case(5, 7, 3, 2.5, torch.bfloat16)
    given = square[0].clone()
    merged_weight(given, *square[1:])
    if not torch.equal(given, square[0]):
        raise Wrong("the weight that came in was changed (+= works in place): then there is no way back to it")
    cases = {
        "merged_weight(weight of shape (6, 6), ..., scaling=2.0)": square,
        "merged_weight(weight of shape (4, 12), ..., scaling=0.5)": wide,
        "merged_weight(a bfloat16 weight, ..., scaling=2.5)": half,
    }
    compare(merged_weight, by_the_project, cases, MISTAKES)

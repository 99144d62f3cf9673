"""Exercise 1: against lora/layer.py's own layer."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from exercises.judge import compare
from lora.layer import LoraLayer

TITLE = "The forward of a LoRA layer"
CHAPTER = "docs/01-rank-one.md"
HINT = "first A, then B: x @ A.T is (..., r), and that @ B.T is (..., out); the bias belongs to the base layer alone."
SEE = "lora/layer.py, LoraLayer.forward"


def by_the_project(x: Tensor, weight: Tensor, bias: Tensor, A: Tensor, B: Tensor, scaling: float) -> Tensor:
    base = nn.Linear(*weight.T.shape)
    layer = LoraLayer(base)
    layer.add_adapter("default", A.shape[0], scaling, 0.0)
    layer.active_adapters = ["default"]
    with torch.no_grad():
        for parameter, value in (
            (base.weight, weight),
            (base.bias, bias),
            (layer.lora_A["default"].weight, A),
            (layer.lora_B["default"].weight, B),
        ):
            parameter.copy_(value)
        return layer(x)


MISTAKES = {
    "the scaling is missing: you computed W0 x + b + B A x": lambda x, W, b, A, B, s: x @ W.T + b + x @ A.T @ B.T,
    "you scaled the base layer too: only the update B A x is scaled": lambda x, W, b, A, B, s: (
        (x @ W.T + b + x @ A.T @ B.T) * s
    ),
    "you scaled the base layer's output, not the update": lambda x, W, b, A, B, s: (x @ W.T + b) * s + x @ A.T @ B.T,
    "that is the update alone: the frozen layer's W0 x + b is missing": lambda x, W, b, A, B, s: x @ A.T @ B.T * s,
    "the bias is missing: the frozen layer is W0 x + b": lambda x, W, b, A, B, s: x @ W.T + x @ A.T @ B.T * s,
    "the bias went into the scaled update: it belongs to the base layer": lambda x, W, b, A, B, s: (
        x @ W.T + (x @ A.T @ B.T + b) * s
    ),
    "the bias is added twice, once with W0 x and once with the update": lambda x, W, b, A, B, s: (
        x @ W.T + 2 * b + x @ A.T @ B.T * s
    ),
    "you scaled twice, on A and on B: the factor stands once": lambda x, W, b, A, B, s: (
        x @ W.T + b + x @ A.T @ B.T * s * s
    ),
    "that is W0 x + b, the update is not in it": lambda x, W, b, A, B, s: x @ W.T + b,
}


def check(lora_forward: Callable) -> None:
    layer = (torch.randn(5, 6), torch.randn(5), torch.randn(2, 6), torch.randn(5, 2))
    square = (torch.randn(4, 4), torch.randn(4), torch.randn(4, 4), torch.randn(4, 4))
    cases = {
        "lora_forward(x of shape (3, 6), ..., scaling=4.0)": (torch.randn(3, 6), *layer, 4.0),
        "lora_forward(x of shape (2, 3, 6), ..., scaling=0.5)": (torch.randn(2, 3, 6), *layer, 0.5),
        "lora_forward(x of shape (4,), r = in = out = 4, scaling=3.0)": (torch.randn(4), *square, 3.0),
    }
    mistakes = MISTAKES | {
        "W0 is transposed: weight is (out, in), so W0 x in rows is x @ weight.T": lambda x, W, b, A, B, s: (
            x @ W + b + x @ A.T @ B.T * s
        ),
        "A and B change places: A comes first, it is (r, in)": lambda x, W, b, A, B, s: x @ W.T + b + x @ B.T @ A.T * s,
        "A and B are used transposed: A is (r, in), B is (out, r)": lambda x, W, b, A, B, s: (
            x @ W.T + b + x @ A @ B * s
        ),
    }
    compare(lora_forward, by_the_project, cases, mistakes)

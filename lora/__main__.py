"""`python -m lora`: the whole idea on one layer. It shows the code of `one_layer` as it runs, value by value."""

import argparse
import inspect
import textwrap
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lora.layer import LoraLayer

HEAD = """\
LoRA on one layer:  h = W0 x + (lora_alpha / r) B A x
Under each piece of code, which has just run, stands the value of its last line.
"""
TAIL = "The layer is lora/layer.py. The course begins with docs/01-rank-one.md."


# Each piece ends at an empty line, with the one value that it shows.
def one_layer() -> Iterator[Any]:
    # 1. A layer that is trained already, frozen. How many weights has it?
    torch.manual_seed(0)
    base = nn.Linear(64, 48).requires_grad_(False)
    x, y = torch.randn(16, 64), torch.randn(16, 48)
    h, W0 = base(x), base.weight.clone()
    yield W0.numel()

    # 2. Beside it A, random, and B, zero. How many numbers are these two?
    layer = LoraLayer(base)
    layer.add_adapter("default", r=4, scaling=8 / 4, dropout=0.0)
    layer.active_adapters = ["default"]
    A, B = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    yield A.numel() + B.numel()

    # 3. Does the layer say what it said before, to the bit?
    yield torch.equal(layer(x), h)

    # 4. The largest number in the first gradient of A, and in that of B?
    loss = F.mse_loss(layer(x), y)
    loss.backward()
    yield A.grad.abs().max(), B.grad.abs().max()

    # 5. One step. The loss before and after?
    optimizer = torch.optim.Adam([A, B], lr=1e-2)
    optimizer.step()
    optimizer.zero_grad()
    after = F.mse_loss(layer(x), y)
    yield loss, after

    # 6. B is no longer zero. The largest number in A's gradient now?
    after.backward()
    yield A.grad.abs().max()

    # 7. Merge: the update goes into W0. How far apart are the two outputs?
    apart = layer(x)
    layer.merge()
    yield (layer(x) - apart).abs().max()

    # 8. Unmerge. Is W0 what it was, to the bit?
    layer.unmerge()
    yield torch.equal(base.weight, W0)


def main(argv: list[str] | None = None) -> None:
    """Print the pieces of `one_layer`, each with its value. The text is the function's own source."""
    argparse.ArgumentParser(prog="python -m lora", description=__doc__).parse_args(argv)
    source = textwrap.dedent("".join(inspect.getsourcelines(one_layer)[0][1:]))
    print(HEAD)
    for piece, value in zip(source.strip().split("\n\n"), one_layer(), strict=True):
        print(piece.replace("\nyield ", "\n"), f"\n    {show(value)}\n", sep="\n")
    print(TAIL)


def show(value: Any) -> str:
    """Tensors with three digits, the rest as Python prints it."""
    parts = value if isinstance(value, tuple) else (value,)
    return ", ".join(f"{part.item():.3g}" if isinstance(part, Tensor) else str(part) for part in parts)


if __name__ == "__main__":
    main()

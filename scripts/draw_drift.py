"""How far ways to write LoRA that are equal on paper drift apart in training, step by step.

pip install -r requirements-extras.txt
python scripts/draw_drift.py --output docs/images/drift.svg
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass

import torch
from draw_run import BLUE, GREY, ORANGE, load_pyplot, write_picture
from torch import Tensor

from training.errors import run_door
from training.settings import option, parse

Way = Callable[[Tensor, Tensor, Tensor, Tensor, float], Tensor]
SCALING = 2.5  # a power of two would hide where the factor stands


@dataclass(frozen=True)
class DriftConfig:
    steps: int = option(200, "steps of training", group="what")
    output: str = option("drift.svg", "picture to write (.svg, .png, .pdf)", group="files")


def pefts(x: Tensor, W0: Tensor, A: Tensor, B: Tensor, s: float) -> Tensor:
    return x @ W0.T + (x @ A.T @ B.T) * s


OTHERS: dict[str, tuple[Way, str]] = {
    "the factor between A and B": (lambda x, W0, A, B, s: x @ W0.T + (x @ A.T * s) @ B.T, BLUE),
    "the update as one matrix": (lambda x, W0, A, B, s: x @ W0.T + x @ (B @ A).T * s, ORANGE),
    "the update in the weight": (lambda x, W0, A, B, s: x @ (W0 + B @ A * s).T, GREY),
}


def main(config: DriftConfig) -> None:
    pyplot = load_pyplot("drift")
    figure, axes = pyplot.subplots(figsize=(6.6, 3), layout="constrained")
    reference = trained(pefts, config.steps)
    for name, (way, color) in OTHERS.items():
        drift = [(a - b).abs().max().item() for a, b in zip(trained(way, config.steps), reference)]
        axes.plot(range(1, config.steps + 1), drift, color=color, label=name)
    axes.set(yscale="log", xlabel="optimizer step", ylabel="largest difference of a weight")
    axes.legend(frameon=False)
    write_picture(figure, config.output)


def trained(way: Way, steps: int) -> list[Tensor]:
    """A and B together after each step of a regression onto an update of higher rank; float32, no dropout."""
    torch.manual_seed(0)
    x, W0 = torch.randn(16, 256), torch.randn(768, 256) / 16
    y = x @ (W0 + torch.randn(768, 256) / 64).T
    A, B = (torch.randn(8, 256) / 16).requires_grad_(), torch.zeros(768, 8, requires_grad=True)
    optimizer, after = torch.optim.AdamW([A, B], lr=1e-3), []
    for _ in range(steps):
        optimizer.zero_grad()
        (way(x, W0, A, B, SCALING) - y).square().mean().backward()
        optimizer.step()
        after.append(torch.cat([A.detach().flatten(), B.detach().flatten()]))
    return after


if __name__ == "__main__":
    words = {"prog": "scripts/draw_drift.py", "description": __doc__.split("\n\n")[0]}
    sys.exit(run_door(lambda: main(parse(DriftConfig, sys.argv[1:], **words))))

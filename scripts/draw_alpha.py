"""How far the first step moves a LoRA layer's output at each rank, for three factors, drawn and as a table.

pip install -r requirements-extras.txt
python scripts/draw_alpha.py --output docs/images/alpha.svg
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass

import torch
from draw_run import BLUE, GREY, ORANGE, load_pyplot, write_picture
from torch import nn

from lora.layer import LoraLayer
from training.errors import run_door
from training.settings import option, parse

RANKS = (4, 8, 16, 32, 64)
ALPHA, WIDTH, RATE = 8, 64, 1e-3
FACTORS: dict[str, tuple[Callable[[int], float], str]] = {
    "alpha/r": (lambda r: ALPHA / r, BLUE),
    "alpha/sqrt(r)": (lambda r: ALPHA / r**0.5, ORANGE),
    "alpha": (lambda r: ALPHA, GREY),
}
OPTIMIZERS = {"Adam": torch.optim.Adam, "SGD": torch.optim.SGD}


@dataclass(frozen=True)
class AlphaConfig:
    draws: int = option(100, "random layers and inputs to take the mean over", group="what")
    output: str = option("alpha.svg", "picture to write (.svg, .png, .pdf)", group="files")


def main(config: AlphaConfig) -> None:
    pyplot = load_pyplot("alpha")
    figure, panels = pyplot.subplots(1, 2, figsize=(7.6, 3), layout="constrained", sharey=True)
    print(f"from rank {RANKS[0]} to rank {RANKS[-1]} the first step becomes so many times as long")
    print("     " + "".join(f"{name:>15}" for name in FACTORS))
    for axes, (name, optimizer) in zip(panels, OPTIMIZERS.items()):
        times = []
        for factor, (scaling, color) in FACTORS.items():
            moved = [first_step(optimizer, r, scaling(r), config.draws) for r in RANKS]
            relative = [one / moved[0] for one in moved]
            times.append(relative[-1])
            axes.plot(RANKS, relative, color=color, marker="o", markersize=4)
            axes.annotate(factor, (RANKS[-1], relative[-1]), (5, 0), textcoords="offset points", va="center")
        print(f"{name:5}" + "".join(f"{one:>15.2f}" for one in times))
        axes.set(xscale="log", yscale="log", xticks=RANKS, xlabel="rank", title=name, xlim=(3.6, 150))
        axes.set_xticks(RANKS, [str(r) for r in RANKS])
        axes.minorticks_off()
    panels[0].set(ylabel=f"times the step at rank {RANKS[0]}", yticks=(1 / 16, 1 / 4, 1, 4, 16))
    panels[0].set_yticks((1 / 16, 1 / 4, 1, 4, 16), ("1/16", "1/4", "1", "4", "16"))
    write_picture(figure, config.output)


def first_step(optimizer: type[torch.optim.Optimizer], r: int, scaling: float, draws: int) -> float:
    """How far one step moves the output for one input, root mean square; the mean over draws of A."""
    torch.manual_seed(0)
    base, far = nn.Linear(WIDTH, WIDTH).double(), 0.0
    for _ in range(draws):
        x, y = torch.randn(2, WIDTH).double()
        layer = LoraLayer(base)
        layer.add_adapter("default", r=r, scaling=scaling, dropout=0.0)
        layer.active_adapters = ["default"]
        layer.double()
        before = layer(x).detach()
        parameters = [layer.lora_A["default"].weight, layer.lora_B["default"].weight]
        step = optimizer(parameters, lr=RATE)
        (layer(x) - y).square().mean().backward()
        step.step()
        far += (layer(x) - before).square().mean().sqrt().item()
    return far / draws


if __name__ == "__main__":
    words = {"prog": "scripts/draw_alpha.py", "description": __doc__.split("\n\n")[0]}
    sys.exit(run_door(lambda: main(parse(AlphaConfig, sys.argv[1:], **words))))

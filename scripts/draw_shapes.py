"""A picture of one adapted layer, drawn to scale: the frozen W0 and, beside it, B and A.

pip install -r requirements-extras.txt
python scripts/draw_shapes.py --output docs/images/shapes.svg
"""

import sys
from dataclasses import dataclass
from typing import Any

import torch
from draw_run import BLUE, GREY, ORANGE, load_pyplot, write_picture

import gpt2
import lora
from training.errors import run_door
from training.settings import option, parse


@dataclass(frozen=True)
class ShapesConfig:
    lora_r: int = option(8, "rank r of A and B", group="what")
    output: str = option("shapes.svg", "picture to write (.svg, .png, .pdf)", group="files")


def main(config: ShapesConfig) -> None:
    pyplot = load_pyplot("shapes")
    W0, B, A = shapes(config.lora_r)
    figure, axes = pyplot.subplots(figsize=(7.2, 2.9), layout="constrained")
    gap = W0[0] / 3.3
    x = draw(axes, W0, 0, GREY, "W0, frozen")
    axes.text(x + gap / 2, W0[0] / 2, "+  s", ha="center", va="center", size=12)
    x = draw(axes, B, x + gap, ORANGE, "B")
    x = draw(axes, A, x + gap, BLUE, "A")
    axes.set(xlim=(-gap / 2, x + gap / 2), ylim=(1.2 * W0[0], -gap), aspect="equal")
    axes.axis("off")
    write_picture(figure, config.output)


def shapes(r: int) -> list[tuple[int, int]]:
    """(out, in) of W0, (out, r) of B and (r, in) of A in GPT-2 small's attn.c_proj; no memory is used for it."""
    with torch.device("meta"):
        model = gpt2.GPT2Model(gpt2.GPT2Config(n_layer=1))
        lora.apply_lora(model, lora.LoraConfig(r=r, target_modules=("attn.c_proj",)))
    layer = model.h[0].attn.c_proj
    B, A = (tuple(part["default"].weight.shape) for part in (layer.lora_B, layer.lora_A))
    return [(layer.out_features, layer.in_features), B, A]


def draw(axes: Any, shape: tuple[int, int], x: float, color: str, name: str) -> float:
    """A rectangle of `shape` (rows, columns) with its top at 0 and its left edge at x; returns its right edge."""
    from matplotlib.patches import Rectangle

    rows, columns = shape
    axes.add_patch(Rectangle((x, 0), columns, rows, color=color, linewidth=0))
    axes.text(x + columns / 2, -20, f"{name}  ({rows}, {columns})", ha="center", va="bottom", color="black")
    axes.text(x + columns / 2, rows + 20, f"{rows * columns:,} numbers", ha="center", va="top", color="#555555")
    return x + columns


if __name__ == "__main__":
    words = {"prog": "scripts/draw_shapes.py", "description": __doc__.split("\n\n")[0]}
    sys.exit(run_door(lambda: main(parse(ShapesConfig, sys.argv[1:], **words))))

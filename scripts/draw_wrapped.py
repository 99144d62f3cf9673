"""One wrapped GPT-2 block as data flow: shapes on the arrows, what is frozen grey, what trains orange.

pip install -r requirements-extras.txt
python scripts/draw_wrapped.py --output docs/images/wrapped.svg
"""

import sys
from dataclasses import dataclass
from typing import Any

import torch
from draw_run import GREY, ORANGE, load_pyplot, write_picture

import gpt2
import lora
from gpt2.model import Conv1D
from lora.layer import LoraLayer
from training.errors import run_door
from training.settings import option, parse

STEPS = (  # from below: (a layer of the block, or what stands between them; the height at which it is drawn)
    ("ln_1", 1), ("attn.c_attn", 2), ("attention", 3), ("attn.c_proj", 4),
    ("ln_2", 6.2), ("mlp.c_fc", 7.2), ("GELU", 8.2), ("mlp.c_proj", 9.2),
)  # fmt: skip
STREAM, FROZEN, PAIR = 0.0, 3.6, 7.4  # x of the three columns


@dataclass(frozen=True)
class WrappedConfig:
    lora_r: int = option(8, "rank r of A and B", group="what")
    target_modules: tuple[str, ...] = option(("c_attn", "c_proj"), "layers to wrap", group="what")
    output: str = option("wrapped.svg", "picture to write (.svg, .png, .pdf)", group="files")


def main(config: WrappedConfig) -> None:
    pyplot = load_pyplot("wrapped")
    with torch.device("meta"):
        model = gpt2.GPT2Model(gpt2.GPT2Config(n_layer=1))
        lora.apply_lora(model, lora.LoraConfig(r=config.lora_r, target_modules=config.target_modules))
    block, width = model.h[0], model.config.n_embd
    figure, axes = pyplot.subplots(figsize=(7.6, 7.2), layout="constrained")
    arrow(axes, (STREAM, -0.2), (STREAM, 11.2), "", wide=True)
    axes.text(STREAM, -0.4, f"residual stream, {width} numbers a token", ha="left", va="top")
    numbers = width
    for name, y in STEPS:
        if name.startswith("ln"):
            arrow(axes, (STREAM, y - 0.6), (FROZEN, y - 0.6), f"{width}")
            numbers = width
        layer = block.get_submodule(name) if "." in name else None
        arrow(axes, (FROZEN, y - 0.72), (FROZEN, y - 0.25), f"{numbers:,}")
        box(axes, FROZEN, y, name, GREY if layer is not None or name.startswith("ln") else "#eef0f2")
        base = layer.base_layer if isinstance(layer, LoraLayer) else layer
        if isinstance(layer, LoraLayer):
            pair(axes, y, layer, numbers, base.nf)
        numbers = base.nf if isinstance(base, Conv1D) else width if name == "attention" else numbers
        if name.endswith("c_proj"):
            arrow(axes, (FROZEN, y + 0.25), (FROZEN, y + 0.9), f"{numbers:,}")
            arrow(axes, (FROZEN, y + 0.9), (STREAM + 0.2, y + 0.9), "added")
            plus = {"markersize": 13, "color": "white", "markeredgecolor": "black", "zorder": 3}
            axes.plot(STREAM, y + 0.9, marker="o", **plus)
            axes.text(STREAM, y + 0.88, "+", ha="center", va="center", zorder=4)
    axes.set(xlim=(-1.6, 11.2), ylim=(-0.9, 11.4))
    axes.axis("off")
    write_picture(figure, config.output)


def pair(axes: Any, y: float, layer: LoraLayer, n_in: int, n_out: int) -> None:
    """A and B beside a frozen layer, with the numbers a token has on the way."""
    A, B = (part["default"].weight.shape for part in (layer.lora_A, layer.lora_B))
    assert (A[1], B[0]) == (n_in, n_out)
    below = y - 0.42  # the same input as the frozen layer's
    axes.plot([FROZEN, PAIR], [below, below], color="black", linewidth=1)
    axes.text((FROZEN + 1.1 + PAIR) / 2, below + 0.03, f"{n_in:,}", ha="center", va="bottom", size=8, color="#444444")
    arrow(axes, (PAIR, below), (PAIR, y - 0.24), "")
    box(axes, PAIR, y, "A", ORANGE, 1.0)
    arrow(axes, (PAIR + 0.5, y), (PAIR + 1.6, y), f"{A[0]}")
    box(axes, PAIR + 2.1, y, "B", ORANGE, 1.0)
    corner = y + 0.42
    axes.plot([PAIR + 2.1, PAIR + 2.1], [y + 0.25, corner], color="black", linewidth=1)
    arrow(axes, (PAIR + 2.1, corner), (FROZEN + 0.1, corner), f"+ s ·   {n_out:,}")


def box(axes: Any, x: float, y: float, name: str, color: str, width: float = 2.2) -> None:
    from matplotlib.patches import FancyBboxPatch

    style = "round,pad=0,rounding_size=0.08"
    axes.add_patch(FancyBboxPatch((x - width / 2, y - 0.24), width, 0.48, boxstyle=style, facecolor=color, linewidth=0))
    axes.text(x, y, name, ha="center", va="center")


def arrow(axes: Any, start: tuple[float, float], end: tuple[float, float], words: str, wide: bool = False) -> None:
    style = {"arrowstyle": "-|>", "color": "black", "linewidth": 2.5 if wide else 1, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", end, start, arrowprops=style)
    x, y = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
    flat = start[1] == end[1]
    place = {"ha": "center", "va": "bottom"} if flat else {"ha": "right", "va": "center"}
    axes.text(x - (0 if flat else 0.12), y + (0.03 if flat else 0), words, size=8, color="#444444", **place)


if __name__ == "__main__":
    words = {"prog": "scripts/draw_wrapped.py", "description": __doc__.split("\n\n")[0]}
    sys.exit(run_door(lambda: main(parse(WrappedConfig, sys.argv[1:], **words))))

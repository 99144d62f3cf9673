"""The four weights of one GPT-2 block, drawn to scale as they lie in memory: inputs down, outputs across.

pip install -r requirements-extras.txt
python scripts/draw_layers.py --output docs/images/layers.svg
"""

import sys
from dataclasses import dataclass

import torch
from draw_run import BLUE, GREY, ORANGE, load_pyplot, write_picture

import gpt2
from gpt2.model import Conv1D
from training.errors import run_door
from training.settings import option, parse

GAP = 420


@dataclass(frozen=True)
class LayersConfig:
    output: str = option("layers.svg", "picture to write (.svg, .png, .pdf)", group="files")


def main(config: LayersConfig) -> None:
    pyplot = load_pyplot("layers")
    from matplotlib.patches import Rectangle

    with torch.device("meta"):
        block = gpt2.GPT2Model(gpt2.GPT2Config(n_layer=1)).h[0]
    figure, axes = pyplot.subplots(figsize=(8, 3.4), layout="constrained")
    x = 0
    for name, layer in block.named_modules():
        if not isinstance(layer, Conv1D):
            continue
        rows, columns = layer.weight.shape
        parts = {"q": BLUE, "k": GREY, "v": ORANGE} if name.endswith("c_attn") else {"": GREY}
        width = columns / len(parts)
        for place, (part, color) in enumerate(parts.items()):
            axes.add_patch(Rectangle((x + place * width, 0), width, rows, facecolor=color, edgecolor="white"))
            axes.text(x + (place + 0.5) * width, rows / 2, part, ha="center", va="center", size=11)
        axes.text(x + columns / 2, -60, name, ha="center", va="bottom", size=10)
        axes.text(x + columns / 2, rows + 60, f"({rows:,}, {columns:,})", ha="center", va="top", color="#555555")
        x += columns + GAP
    axes.set(xlim=(-GAP / 2, x - GAP / 2), ylim=(3072 + 300, -350), aspect="equal")
    axes.axis("off")
    write_picture(figure, config.output)


if __name__ == "__main__":
    words = {"prog": "scripts/draw_layers.py", "description": __doc__.split("\n\n")[0]}
    sys.exit(run_door(lambda: main(parse(LayersConfig, sys.argv[1:], **words))))

"""How much of an update is lost when it is merged, over the size of B, in three dtypes; on a layer of the bundled base.

pip install -r requirements-extras.txt
python scripts/draw_merging.py --output docs/images/merging.svg
"""

import sys
from dataclasses import dataclass

import torch
from draw_run import BLUE, GREY, ORANGE, load_pyplot, write_picture
from torch import nn

import gpt2
from gpt2.model import Conv1D
from lora.layer import LoraLayer
from training.errors import run_door
from training.settings import option, parse

SIZES = [10 ** (power / 4) for power in range(-20, -3)]  # of B, from 1e-5 to 1e-1
DTYPES = {torch.float32: GREY, torch.float16: BLUE, torch.bfloat16: ORANGE}


@dataclass(frozen=True)
class MergingConfig:
    base: str = option("assets/gpt2-tiny", "directory of a GPT-2; its first c_attn is merged into", group="what")
    output: str = option("merging.svg", "picture to write (.svg, .png, .pdf)", group="files")


def main(config: MergingConfig) -> None:
    pyplot = load_pyplot("merging")
    layer = gpt2.GPT2LMHeadModel.from_pretrained(config.base).transformer.h[0].attn.c_attn
    figure, axes = pyplot.subplots(figsize=(6.4, 3), layout="constrained")
    for dtype, color in DTYPES.items():
        lost = [100 * lost_share(layer, dtype, size) for size in SIZES]
        axes.plot(SIZES, lost, color=color, marker="o", markersize=3, label=str(dtype).removeprefix("torch."))
    axes.set(xscale="log", xlabel="spread of the numbers in B", ylabel="lost of the update, %", ylim=(-3, 103))
    axes.legend(frameon=False)
    write_picture(figure, config.output)


def lost_share(pretrained: Conv1D, dtype: torch.dtype, size: float) -> float:
    """The norm of what merging does not add, over the norm of what it should; with a B of that spread."""
    torch.manual_seed(0)
    conv = Conv1D(pretrained.nf, pretrained.nx).to(dtype)
    conv.weight.data = pretrained.weight.detach().to(dtype)
    layer = LoraLayer(conv)
    layer.add_adapter("default", r=8, scaling=4.0, dropout=0.0)
    layer.active_adapters = ["default"]
    nn.init.normal_(layer.lora_B["default"].weight, std=size)
    before, delta = conv.weight.detach().float().clone(), layer.delta_weight("default").float()
    layer.merge()
    return ((conv.weight.float() - before - delta).norm() / delta.norm()).item()


if __name__ == "__main__":
    words = {"prog": "scripts/draw_merging.py", "description": __doc__.split("\n\n")[0]}
    sys.exit(run_door(lambda: main(parse(MergingConfig, sys.argv[1:], **words))))

"""What a step of training keeps in memory, as stacked bars: the head, LoRA and full fine-tuning at two sizes of GPT-2.

pip install -r requirements-extras.txt
python scripts/draw_memory.py --output docs/images/memory.svg
"""

import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from draw_run import BLUE, GREY, ORANGE, load_pyplot, write_picture  # noqa: E402

from benchmarks.speed.memory import SIZES, Training  # noqa: E402
from training.errors import run_door  # noqa: E402
from training.settings import option, parse  # noqa: E402

WAYS = {"head": "head", "lora": "LoRA", "full": "full"}
PARTS = {"weights": GREY, "gradients": BLUE, "optimizer": "#7fb2d1", "activations": ORANGE, "workspace": "#edc7ad"}
NAMES = {"optimizer": "AdamW's averages", "workspace": "room to work in"}


@dataclass(frozen=True)
class PictureConfig:
    sizes: tuple[str, ...] = option(("124M", "355M"), "sizes of GPT-2", group="what", choices=tuple(SIZES))
    rows: int = option(8, "rows of a batch", group="what")
    length: int = option(512, "tokens of a row", group="what")
    precision: str = option("fp32", "fp32 or bf16", group="what", choices=("fp32", "bf16"))
    output: str = option("memory.svg", "picture to write (.svg, .png, .pdf)", group="files")


def main(config: PictureConfig) -> None:
    pyplot = load_pyplot("memory")
    figure, axes = pyplot.subplots(figsize=(7.6, 3.4), layout="constrained")
    places, names = [], []
    for number, size in enumerate(config.sizes):
        for at, (way, name) in enumerate(WAYS.items()):
            parts = Training(SIZES[size], config.rows, config.length, way, config.precision, "plain").parts()
            place, left = number * 4 + at, 0.0
            for part, color in PARTS.items():
                gigabytes = parts[part] / 1e9
                label = NAMES.get(part, part) if not places else None
                axes.barh(place, gigabytes, left=left, color=color, height=0.75, label=label)
                left += gigabytes
            places, names = [*places, place], [*names, f"{size}, {name}"]
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.set(xlabel=f"GB, {config.rows} rows of {config.length} tokens in {config.precision}")
    axes.legend(frameon=False, loc="upper right")
    write_picture(figure, config.output)


if __name__ == "__main__":
    words = {"prog": "scripts/draw_memory.py", "description": __doc__.split("\n\n")[0]}
    sys.exit(run_door(lambda: main(parse(PictureConfig, sys.argv[1:], **words))))

"""What a token costs in training: the products that the head, LoRA and full fine-tuning of GPT-2 need, stacked.

pip install -r requirements-extras.txt
python scripts/draw_work.py --output docs/images/work.svg
"""

import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from draw_run import BLUE, GREY, ORANGE, load_pyplot, write_picture  # noqa: E402

import gpt2  # noqa: E402
from benchmarks.speed.cost import predict  # noqa: E402
from benchmarks.speed.ledger import Ledger  # noqa: E402
from training.errors import run_door  # noqa: E402
from training.settings import option, parse  # noqa: E402

PARTS = {"forward": GREY, "gradient of the inputs": BLUE, "gradient of the weights": "#7fb2d1", "A and B": ORANGE}


@dataclass(frozen=True)
class WorkConfig:
    output: str = option("work.svg", "picture to write (.svg, .png, .pdf)", group="files")


def main(config: WorkConfig) -> None:
    pyplot = load_pyplot("work")
    figure, axes = pyplot.subplots(figsize=(7.6, 2.2), layout="constrained")
    ways = products()
    left = dict.fromkeys(ways, 0.0)
    for part, color in PARTS.items():
        widths = [ways[way].get(part, 0.0) for way in ways]
        axes.barh(list(ways), widths, left=list(left.values()), color=color, height=0.65, label=part)
        left = {way: left[way] + width for way, width in zip(ways, widths)}
    axes.invert_yaxis()
    axes.set(xlabel="GFLOP a token, GPT-2 with 124 million weights")
    axes.legend(frameon=False, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1))
    write_picture(figure, config.output)


def products() -> dict[str, dict[str, float]]:
    """way -> GFLOP a token of each part, by the rule of docs/08-cost.md."""
    rule = predict(Ledger.of(gpt2.GPT2Config()))
    head, lora, full = (rule[way]["flop_per_token"] / 1e9 for way in ("head", "lora", "full"))
    both = {"forward": head, "gradient of the inputs": head}
    return {
        "head": {"forward": head},
        "LoRA": both | {"A and B": lora - 2 * head},
        "full": both | {"gradient of the weights": full - 2 * head},
    }


if __name__ == "__main__":
    words = {"prog": "scripts/draw_work.py", "description": __doc__.split("\n\n")[0]}
    sys.exit(run_door(lambda: main(parse(WorkConfig, sys.argv[1:], **words))))

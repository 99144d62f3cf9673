"""A picture of a run: the loss as it fell, and the test scores before and after beside the baselines.

pip install -r requirements-extras.txt
python scripts/draw_run.py --run runs/tiny --output docs/images/run.svg
"""

import itertools
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from training.errors import UsageError, run_door  # noqa: E402
from training.log import read_metrics  # noqa: E402
from training.settings import option, parse  # noqa: E402

BLUE, ORANGE, GREY = "#2a6f97", "#d1652b", "#b8bfc6"


@dataclass(frozen=True)
class DrawConfig:
    run: str = option("runs/tiny", "directory of a finished run", group="files")
    output: str = option("run.svg", "picture to write (.svg, .png, .pdf)", group="files")


def main(config: DrawConfig) -> None:
    pyplot = load_pyplot("run")
    run = Path(config.run)
    if (run / "pretraining.json").is_file():
        figure, axes = pyplot.subplots(figsize=(4.8, 3.1), layout="constrained")
        draw_pretraining(axes, json.loads((run / "pretraining.json").read_text(encoding="utf-8")))
    elif (run / "results.json").is_file():
        figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.1), width_ratios=(1.15, 1), layout="constrained")
        draw_curve(left, read_metrics(run))
        draw_scores(right, json.loads((run / "results.json").read_text(encoding="utf-8")))
    else:
        raise UsageError(f"{run}: no results.json there; give the directory of a finished run")
    write_picture(figure, config.output)


def load_pyplot(name: str) -> Any:
    """matplotlib.pyplot without a window and in this project's style; pictures of one `name` get the same ids."""
    try:
        import matplotlib
    except ImportError:
        raise UsageError("drawing needs matplotlib: pip install -r requirements-extras.txt") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    style = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": name}
    pyplot.rcParams.update(style)
    return pyplot


def write_picture(figure: Any, output: str) -> None:
    Path(output).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=150, metadata={"Date": None} if output.endswith(".svg") else None)
    print(f"written to {output}")


def draw_pretraining(axes: Any, record: dict[str, Any]) -> None:
    """Bits a byte of each corpus's held-out documents over the tokens seen, those of the model gone on from first."""
    points, offset = [], 0
    for part in ([record["before"]] if "before" in record else []) + [record]:
        points += [(offset + tokens_seen(part["config"], e["step"]), e["bits_per_byte"]) for e in part["curve"]]
        offset = points[-1][0]
    for corpus, color in zip(points[0][1], itertools.cycle((BLUE, ORANGE, GREY))):
        seen, bits = zip(*((tokens / 1e6, each[corpus]) for tokens, each in points))
        axes.plot(seen, bits, color=color, marker="o", markersize=3, label=corpus)
    axes.set(xlabel="tokens seen, millions", ylabel="bits a byte", title="Held-out documents")
    axes.legend(frameon=False)


def tokens_seen(config: dict[str, Any], steps: int) -> int:
    """Each size of batch_size has an equal part of the steps, as in pretrain_base.py."""
    sizes = config["batch_size"]
    return sum(sizes[step * len(sizes) // config["max_steps"]] for step in range(steps)) * config["n_positions"]


def draw_curve(axes: Any, log: list[dict[str, Any]]) -> None:
    """Loss of each step, and of the held-out rows at each evaluation."""
    steps = [entry for entry in log if "part" not in entry]
    evaluations = [entry for entry in log if "part" in entry]
    axes.plot([e["step"] for e in steps], [e["loss"] for e in steps], color=GREY, linewidth=1, label="each step")
    held_out = f"{evaluations[0]['part']} rows"
    x, y = [e["step"] for e in evaluations], [e["loss"] for e in evaluations]
    axes.plot(x, y, color=ORANGE, marker="o", markersize=4, label=held_out)
    axes.set(xlabel="optimizer step", ylabel="loss, nats", title="The loss", ylim=(0, None))
    axes.legend(frameon=False)


def draw_scores(axes: Any, results: dict[str, Any]) -> None:
    """Accuracy on the test rows with its 95 % interval, one bar a classifier."""
    rows = {"always the majority": "majority", "four digits in a row?": "digits_regex", "naive Bayes": "naive_bayes"}
    bars = {name: results["baselines"][key] for name, key in rows.items()}
    bars |= {"GPT-2 before": results["before"], "GPT-2 after": results["after"]}
    names, scores = list(bars), [100 * m["accuracy"] for m in bars.values()]
    low, high = ([100 * m["accuracy_interval"][end] for m in bars.values()] for end in (0, 1))
    errors = [[max(0.0, s - e) for s, e in zip(scores, low)], [max(0.0, e - s) for s, e in zip(scores, high)]]
    axes.barh(names, scores, xerr=errors, color=[GREY] * 3 + [ORANGE, BLUE], error_kw={"linewidth": 1}, height=0.65)
    for name, score in zip(names, scores):
        axes.text(1.5, name, f"{score:.1f} %", va="center", color="white" if "GPT" in name else "black")
    axes.set(
        xlim=(0, 100), xlabel="accuracy, % (with 95 % interval)", title=f"{results['rows']['test']:,} test messages"
    )
    axes.invert_yaxis()


if __name__ == "__main__":
    words = {"prog": "scripts/draw_run.py", "description": __doc__.split("\n\n")[0]}
    sys.exit(run_door(lambda: main(parse(DrawConfig, sys.argv[1:], **words))))

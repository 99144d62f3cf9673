"""Why 91 % is no success and 2e-5 no learning rate for LoRA: three ways of training, each at two rates, three seeds.

    pip install -r requirements-extras.txt
    python scripts/headline.py                                                     the bundled messages
    python scripts/headline.py --dataset SMSSpamCollection --split seed            the notebook's data and its test rows

The notebook trained at 2e-5, a rate for full fine-tuning. Here the head alone, LoRA and full fine-tuning are trained at
that rate and at one that suits them better, and stand beside four classifiers that need no language model, on the same
test rows. Writes headline.md, the table, and headline.svg, the same in a picture with the training losses beside it.
Each run is a directory of its own, for infer.py too; the same command goes on where it was stopped.
"""

import contextlib
import dataclasses
import io
import itertools
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from draw_run import BLUE, GREY, ORANGE, load_pyplot, write_picture
from sweep import linear_svm, run_once

import train
from tasks.product import product_directory
from tasks.record import TaskRecord
from training.errors import UsageError, run_door
from training.log import read_metrics
from training.metrics import predicts_one_label, wilson_interval
from training.settings import option, parse

DARK = "#59636d"
LAST = 10  # steps whose mean training loss the table gives


@dataclass(frozen=True)
class Arm:
    name: str
    train: str  # as train.py's --train
    learning_rate: float
    color: str

    def __str__(self) -> str:
        return f"{self.name} at {self.learning_rate:g}"


ARMS = (
    Arm("head only", "head", 2e-5, DARK),
    Arm("head only", "head", 1e-3, DARK),
    Arm("LoRA", "lora", 2e-5, BLUE),
    Arm("LoRA", "lora", 1e-3, BLUE),
    Arm("full fine-tuning", "full", 2e-5, ORANGE),
    Arm("full fine-tuning", "full", 2e-4, ORANGE),
)
NOTEBOOKS = 2e-5


@dataclass(frozen=True)
class HeadlineConfig:
    preset: str = option("tiny", "recipe that all runs share", group="what")
    model: str = option("assets/gpt2-tiny", "model directory or hub id", group="what")
    dataset: str = option("data/messages/messages.tsv", "file or hub id", group="what")
    split: str = option("grouped", "of the rows into parts; seed: the notebook's", group="what")
    seeds: tuple[int, ...] = option((0, 1, 2), "one run of each arm for each", group="what")
    max_steps: int = option(106, "optimizer steps of a run, however many rows there are", group="what")
    output_dir: str | None = option(None, "default: work/headline-DATASET", group="files")
    overwrite: bool = option(False, "train again what is there already", group="files")

    def __post_init__(self) -> None:
        if len(set(self.seeds)) < len(self.seeds):
            raise UsageError(f"--seeds {' '.join(map(str, self.seeds))}: one of them stands there twice")


@dataclass(frozen=True)
class Outcome:
    """What one run came to."""

    scores: dict[str, Any]  # of the test rows
    losses: list[float]  # of each training step
    baselines: dict[str, Any]


def main(config: HeadlineConfig) -> None:
    pyplot = load_pyplot("headline")
    base = train.recipe(
        config.preset, model=config.model, dataset=config.dataset, split=config.split, max_steps=config.max_steps,
        also_test=None, eval_strategy="no", save_strategy="no", load_best_model_at_end=False, precision="fp32",
    )  # fmt: skip
    svm = linear_svm(base)["after"]  # before the runs: where scikit-learn is missing, it is said at once
    output = Path(config.output_dir or f"work/headline-{Path(config.dataset).stem}")
    outcomes = run_all(base, config, output)
    first = outcomes[ARMS[0]][0]
    baselines = {name.replace("_", " "): scores for name, scores in first.baselines.items()}
    baselines["linear SVM"] = svm
    table = write_table(outcomes, baselines)
    (output / "headline.md").write_text(table + "\n", encoding="utf-8")
    print(f"\n{config.dataset}, split {config.split}, {config.model}, {config.max_steps} steps\n\n{table}\n")
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9.4, 4.2), width_ratios=(1.3, 1), layout="constrained")
    constant = f'always "{majority_label(output, config, first)}"'
    draw_accuracy(left, outcomes, baselines, constant)
    draw_losses(right, outcomes, first.baselines["majority"]["loss"])
    write_picture(figure, str(output / "headline.svg"))


def run_all(base: train.TrainConfig, config: HeadlineConfig, output: Path) -> dict[Arm, list[Outcome]]:
    """Every arm with every seed, a line for each; what has been run already is read."""
    outcomes: dict[Arm, list[Outcome]] = {arm: [] for arm in ARMS}
    runs = list(itertools.product(ARMS, config.seeds))
    for number, (arm, seed) in enumerate(runs, 1):
        where = run_directory(output, arm, seed)
        run = dataclasses.replace(
            base, train=arm.train, learning_rate=arm.learning_rate, seed=seed, output_dir=str(where)
        )
        with contextlib.redirect_stdout(io.StringIO()):
            results = run_once(run, again=config.overwrite)
        losses = [entry["loss"] for entry in read_metrics(where) if "part" not in entry]
        outcome = Outcome(results["after"], losses, results["baselines"])
        outcomes[arm].append(outcome)
        print(
            f"[{number:2}/{len(runs)}] {arm}, seed {seed}: {results['train_seconds']:.0f} s of training, accuracy "
            f"{outcome.scores['accuracy']:.2%}, recall {outcome.scores['recall']:.3f}, loss {last_loss(outcome):.3f}",
            flush=True,
        )
    return outcomes


def run_directory(output: Path, arm: Arm, seed: int) -> Path:
    return output / f"{arm.train}-lr{arm.learning_rate:g}-seed{seed}"


def last_loss(outcome: Outcome) -> float:
    return statistics.mean(outcome.losses[-LAST:])


def write_table(outcomes: dict[Arm, list[Outcome]], baselines: dict[str, dict[str, Any]]) -> str:
    """All arms and baselines in Markdown, and how its columns are meant."""
    lines = ["| | learning rate | accuracy | 95 % interval | each seed | recall | F1 | training loss |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for arm, runs in outcomes.items():
        loss = f"{statistics.mean(map(last_loss, runs)):.3f}"
        lines.append(row(arm.name, f"{arm.learning_rate:g}", [run.scores for run in runs], loss))
    lines += [row(name, "", [scores]) for name, scores in baselines.items()]
    n, seeds = next(iter(baselines.values()))["rows"], len(next(iter(outcomes.values())))
    meaning = (
        f"Means over {seeds} seed{'s' * (seeds > 1)}; {n:,} test rows. The interval is Wilson's, 95 %, for the mean "
        f"accuracy on {n:,} rows: all runs answer the same rows, so more runs do not make it narrower. Training loss: "
        f"the last {LAST} steps."
    )
    lines += ["", meaning]
    return "\n".join(lines)


def row(name: str, rate: str, scores: list[dict[str, Any]], loss: str = "") -> str:
    """One line of the table: means over the runs, and the accuracy of each."""
    accuracy, recall, f1 = (statistics.mean(s[key] for s in scores) for key in ("accuracy", "recall", "f1"))
    n = scores[0]["rows"]
    low, high = wilson_interval(accuracy * n, n)
    each = ", ".join(f"{100 * s['accuracy']:.2f}" for s in scores) if loss else ""
    interval = f"{100 * low:.2f} to {100 * high:.2f} %"
    return f"| {name} | {rate} | {100 * accuracy:.2f} % | {interval} | {each} | {recall:.3f} | {f1:.3f} | {loss} |"


def majority_label(output: Path, config: HeadlineConfig, outcome: Outcome) -> str:
    """The name of the label that the constant answer gives."""
    record = TaskRecord.load(product_directory(run_directory(output, ARMS[0], config.seeds[0])))
    return record.label_names[predicts_one_label(outcome.baselines["majority"])]


def draw_accuracy(axes: Any, outcomes: dict[Arm, list[Outcome]], baselines: dict[str, Any], constant: str) -> None:
    """A point for each run and a bar for their mean, with its interval; diamonds for what needs no language model."""
    constant_accuracy = 100 * baselines["majority"]["accuracy"]
    rest = {name: scores for name, scores in baselines.items() if name != "majority"}
    names = [str(arm) for arm in outcomes] + list(rest)
    axes.axvline(constant_accuracy, color="black", linestyle="--", linewidth=1, zorder=1)
    axes.text(constant_accuracy, -0.75, constant, ha="center", va="bottom")
    for y, (arm, runs) in enumerate(outcomes.items()):
        each, n = [100 * run.scores["accuracy"] for run in runs], runs[0].scores["rows"]
        low, high = wilson_interval(statistics.mean(each) / 100 * n, n)
        axes.plot([100 * low, 100 * high], [y, y], color=GREY, linewidth=5, solid_capstyle="butt", zorder=2)
        axes.plot(statistics.mean(each), y, "|", color=arm.color, markersize=15, markeredgewidth=2, zorder=4)
        axes.plot(each, [y] * len(each), "o", color=arm.color, markersize=5, alpha=0.7, zorder=3)
    for y, scores in enumerate(rest.values(), len(outcomes)):
        axes.plot(100 * scores["accuracy"], y, "D", color="black", markerfacecolor="white", markersize=6, zorder=3)
    axes.set(xlabel="accuracy, % (grey: 95 % interval of the mean)", ylim=(len(names) - 0.4, -0.8))
    axes.set_yticks(range(len(names)), names)


def draw_losses(axes: Any, outcomes: dict[Arm, list[Outcome]], constant_loss: float) -> None:
    """The training losses, means over the seeds and over the ten steps before."""
    axes.axhline(constant_loss, color="black", linestyle="--", linewidth=1)
    for arm, runs in outcomes.items():
        mean = [statistics.mean(step) for step in zip(*(run.losses for run in runs))]
        smooth = [statistics.mean(mean[max(0, at - LAST + 1) : at + 1]) for at in range(len(mean))]
        style = "--" if arm.learning_rate == NOTEBOOKS else "-"
        axes.plot(range(1, len(smooth) + 1), smooth, color=arm.color, linestyle=style, linewidth=1.5, label=str(arm))
    words = "knows the class mix, reads no text"
    axes.text(axes.get_xlim()[1], constant_loss, words, ha="right", va="bottom", fontsize=8)
    axes.set(xlabel="optimizer step", ylabel="training loss, nats", ylim=(0, None))
    axes.figure.legend(loc="outside lower center", ncols=3, frameon=False)


if __name__ == "__main__":
    words = {"prog": "scripts/headline.py", "description": __doc__.split("\n\n")[0]}
    sys.exit(run_door(lambda: main(parse(HeadlineConfig, sys.argv[1:], **words)), lasting=True))

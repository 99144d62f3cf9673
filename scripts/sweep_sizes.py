"""Which rate, rank and alpha, by the number of training rows: the tables of docs/advice.md.

    python scripts/sweep_sizes.py

For each number of rows three learning rates are tried; then, at the best of them, other ranks and other alphas. What is
compared is the best F1 on the validation part, with one seed. The setting of the preset at that rate then runs with two
more seeds, and the test part reports all three, beside naive Bayes on the same rows. Each run is a directory below
--output_dir; the same command goes on where it was stopped.
"""

import dataclasses
import statistics
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import train  # noqa: E402
from scripts.sweep import run_once  # noqa: E402
from training.errors import run_door  # noqa: E402
from training.log import read_metrics  # noqa: E402
from training.settings import option, parse  # noqa: E402

RATES, RANKS, ALPHAS = (3e-4, 1e-3, 3e-3), (1, 8, 32), (4.0, 16.0, 64.0)
STEPS = {50: 60, 200: 100, 1000: 200, 0: 310}  # rows (0: all) -> optimizer steps; more rows deserve more


@dataclass(frozen=True)
class SizesConfig:
    preset: str = option("tiny", "recipe that is varied", group="what")
    rows: tuple[str, ...] = option(tuple(map(str, STEPS)), "training rows; 0: all", group="what")
    steps: int | None = option(None, "optimizer steps of each run; default: by the rows", group="what")
    seeds: tuple[str, ...] = option(("0", "1", "2"), "the first one tries, all report", group="what")
    output_dir: str = option("work/sizes", "where the runs go", group="files")


@dataclass(frozen=True)
class Trials:
    """Of one number of rows: the best validation F1 by what was tried, and the results of the runs that report."""

    rates: dict[float, float]
    ranks: dict[int, float]
    alphas: dict[float, float]
    best: float  # the rate
    results: list[dict[str, Any]]


def main(config: SizesConfig) -> None:
    trials = {int(rows): try_rows(int(rows), config) for rows in config.rows}
    lines = [f"preset {config.preset}, seeds {', '.join(config.seeds)}"]
    for title, tried in (("learning rate", "rates"), ("r", "ranks"), ("lora_alpha", "alphas")):
        found = {rows: getattr(trial, tried) for rows, trial in trials.items()}
        columns = [f"{title} {value:g}" for value in next(iter(found.values()))]
        cells = {rows: [f"{f1:.3f}" for f1 in values.values()] for rows, values in found.items()}
        lines += table(f"best F1 on validation, by {title}", columns, cells)
    lines += table(
        "on the test part, the best rate",
        ["rate", "accuracy", "F1", "F1 of each seed", "naive Bayes, F1"],
        {rows: reported(trial) for rows, trial in trials.items()},
    )
    print(*lines, sep="\n")


def try_rows(rows: int, config: SizesConfig) -> Trials:
    base, seed = settings_of(rows, config), config.seeds[0]

    def run(seed: str = seed, **changes: Any) -> tuple[float, dict[str, Any]]:
        name = "-".join(f"{key.removeprefix('lora_')}{value:g}" for key, value in changes.items())
        where = str(Path(config.output_dir) / f"{rows or 'all'}-rows" / f"{name}-seed{seed}")
        return scored(dataclasses.replace(base, **changes, seed=int(seed), output_dir=where))

    rates = {rate: run(learning_rate=rate)[0] for rate in RATES}
    best = max(rates, key=rates.get)
    ranks = {r: rates[best] if r == base.lora_r else run(learning_rate=best, lora_r=r)[0] for r in RANKS}
    alphas = {a: rates[best] if a == base.lora_alpha else run(learning_rate=best, lora_alpha=a)[0] for a in ALPHAS}
    return Trials(rates, ranks, alphas, best, [run(seed, learning_rate=best)[1] for seed in config.seeds])


def settings_of(rows: int, config: SizesConfig) -> train.TrainConfig:
    """The preset on so many rows, scored five times on the way."""
    steps = config.steps or STEPS.get(rows, STEPS[0])
    often = {"eval_strategy": "steps", "eval_steps": -(-steps // 5), "save_strategy": "steps"}
    often |= {"save_steps": often["eval_steps"], "precision": "fp32", "also_test": None, "snapshots": 0}
    return dataclasses.replace(train.recipe(config.preset), max_steps=steps, max_train_rows=rows or None, **often)


def scored(settings: train.TrainConfig) -> tuple[float, dict[str, Any]]:
    """The best F1 on validation, and results.json."""
    results = run_once(settings)
    log = read_metrics(Path(settings.output_dir))
    return max(entry["f1"] for entry in log if entry.get("part") == "validation"), results


def reported(trial: Trials) -> list[str]:
    after = [result["after"] for result in trial.results]
    accuracy, f1 = (statistics.mean(scores[key] for scores in after) for key in ("accuracy", "f1"))
    each = ", ".join(f"{scores['f1']:.3f}" for scores in after)
    bayes = trial.results[0]["baselines"]["naive_bayes"]["f1"]
    return [f"{trial.best:g}", f"{accuracy:.2%}", f"{f1:.3f}", each, f"{bayes:.3f}"]


def table(title: str, columns: Iterable[str], cells: dict[int, list[str]]) -> list[str]:
    heads = ["training rows", *columns]
    lines = ["", title, "", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    return lines + [f"| {rows or 'all'} | {' | '.join(row)} |" for rows, row in cells.items()]


if __name__ == "__main__":
    words = {"prog": "scripts/sweep_sizes.py", "description": __doc__.split("\n\n")[0]}
    sys.exit(run_door(lambda: main(parse(SizesConfig, sys.argv[1:], **words)), lasting=True))

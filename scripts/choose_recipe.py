"""Which recipe for a preset: variants of it, each run with the same seeds, compared on the validation part alone.

    python scripts/choose_recipe.py                        the default preset on the bundled messages
    python scripts/choose_recipe.py --preset sms --model assets/gpt2-tiny --dataset SMSSpamCollection

Prints the best validation loss and the F1 of the chosen checkpoint, means over the seeds. Nothing is said of test
rows: a recipe chosen on them would flatter itself. Each run is a directory below --output_dir; the same command goes on
where it was stopped.
"""

import contextlib
import io
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweep import run_once

import train
from training.errors import UsageError, run_door
from training.log import read_metrics
from training.settings import option, parse

VARIANTS: dict[str, dict[str, Any]] = {
    "the preset": {},
    "rate 5e-4": {"learning_rate": 5e-4},
    "rate 2e-3": {"learning_rate": 2e-3},
    "rate 4e-3": {"learning_rate": 4e-3},
    "c_attn, c_proj": {"target_modules": ("c_attn", "c_proj")},
    "c_attn, c_proj, c_fc": {"target_modules": ("c_attn", "c_proj", "c_fc")},
    "all, wte too": {"target_modules": ("wte", "c_attn", "c_proj", "c_fc")},
    "rank 4": {"lora_r": 4, "lora_alpha": 8.0},  # alpha grows with the rank: the update's scale stays
    "rank 8": {"lora_r": 8, "lora_alpha": 16.0},
    "rank 16": {"lora_r": 16, "lora_alpha": 32.0},
    "rank 32": {"lora_r": 32, "lora_alpha": 64.0},
    "no LoRA dropout": {"lora_dropout": 0.0},
    "LoRA dropout 0.3": {"lora_dropout": 0.3},
    "2 epochs": {"num_train_epochs": 2},
    "3 epochs": {"num_train_epochs": 3},
    "5 epochs": {"num_train_epochs": 5},
    "weight decay 0.1": {"weight_decay": 0.1},
    "batches of 16": {"per_device_train_batch_size": 16},
    "full fine-tuning": {"train": "full", "learning_rate": 3e-4},
    "head only": {"train": "head", "learning_rate": 1e-2},
}


@dataclass(frozen=True)
class ChooseConfig:
    preset: str = option("tiny", "recipe that is varied", group="what")
    model: str = option("assets/gpt2-tiny", "model directory or hub id", group="what")
    dataset: str = option("data/messages/messages.tsv", "file or hub id", group="what")
    variants: tuple[str, ...] = option(tuple(VARIANTS), "what is tried", group="what", choices=tuple(VARIANTS))
    seeds: tuple[int, ...] = option((0, 1, 2), "runs of each variant", group="what")
    output_dir: str = option("work/recipes", "where the runs go", group="files")


def main(config: ChooseConfig) -> None:
    print("| | best loss | F1 of the checkpoint | each seed's loss | training, s |\n|---|---|---|---|---|", flush=True)
    preset = train.recipe(config.preset, model=config.model, dataset=config.dataset)
    for name in config.variants:
        if VARIANTS[name] and all(getattr(preset, field) == value for field, value in VARIANTS[name].items()):
            continue  # that is the preset
        runs = [run_variant(name, seed, config) for seed in config.seeds]
        losses, f1s, seconds = zip(*runs)
        each = ", ".join(f"{loss:.4f}" for loss in losses)
        means = f"{statistics.mean(losses):.4f} | {statistics.mean(f1s):.4f} | {each} | {statistics.mean(seconds):.0f}"
        print(f"| {name} | {means} |", flush=True)


def run_variant(name: str, seed: int, config: ChooseConfig) -> tuple[float, float, float]:
    """(least validation loss, validation F1 of the checkpoint that the recipe's metric chooses, seconds of training)"""
    where = Path(config.output_dir) / name.replace(" ", "-") / f"seed{seed}"
    changes = {"model": config.model, "dataset": config.dataset, "seed": seed, "also_test": None}
    recipe = train.recipe(config.preset, **(changes | VARIANTS[name]), output_dir=str(where))
    if not recipe.val_size:
        raise UsageError(f"--preset {config.preset}: has no validation part (val_size 0), so nothing to choose on")
    with contextlib.redirect_stdout(io.StringIO()):
        results = run_once(recipe)
    scores = [entry for entry in read_metrics(where) if entry.get("part") == "validation"]
    chosen = next(entry for entry in scores if entry["step"] == results["best_step"])
    return min(entry["loss"] for entry in scores), chosen["f1"], results["train_seconds"]


if __name__ == "__main__":
    words = {"prog": "scripts/choose_recipe.py", "description": __doc__.split("\n\n")[0]}
    sys.exit(run_door(lambda: main(parse(ChooseConfig, sys.argv[1:], **words)), lasting=True))

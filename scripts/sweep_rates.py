"""Loss against learning rate, for LoRA of three ranks and full fine-tuning: one seed each, on the bundled base.

    python scripts/sweep_rates.py

The figure that Schulman et al., "LoRA Without Regret" (2025), draw of large models, in small. `lora_alpha` stays
what the preset says whatever r is, so the update is scaled by 1/r. Each run is a directory below --output_dir; the
same command goes on where it was stopped. What is kept is the loss on the validation part after the last step: test
rows choose nothing.
"""

import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import train  # noqa: E402
from scripts.sweep import run_once  # noqa: E402
from training.errors import run_door  # noqa: E402
from training.files import write_atomically  # noqa: E402
from training.log import read_metrics  # noqa: E402
from training.settings import option, parse  # noqa: E402

ARMS = {"LoRA, r = 1": ("lora", 1), "LoRA, r = 8": ("lora", 8), "LoRA, r = 32": ("lora", 32), "full": ("full", 8)}
RATES = {"lora": (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2), "full": (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3)}


@dataclass(frozen=True)
class RatesConfig:
    preset: str = option("tiny", "recipe whose rate and rank are varied", group="what")
    arms: tuple[str, ...] = option(tuple(ARMS), "ways of training", group="what", choices=tuple(ARMS))
    epochs: int = option(2, "passes over the training rows", group="what")
    max_steps: int = option(-1, "optimizer steps; above 0 it overrides the epochs", group="what")
    seed: int = option(42, "of every run", group="what")
    output_dir: str = option("work/rates", "where the runs go", group="files")
    json: str = option("docs/measured/rates.json", "file of the losses", group="files")


def main(config: RatesConfig) -> list[dict[str, Any]]:
    """Print and keep a line for each run; returns the lines."""
    rows = []
    for arm in config.arms:
        way, r = ARMS[arm]
        for rate in RATES[way]:
            settings = settings_of(config, way, r, rate)
            steps = run_once(settings)["steps"]
            loss = last_loss(Path(settings.output_dir))
            rows.append({"arm": arm, "learning_rate": rate, "steps": steps, "validation_loss": loss})
            print(f"{arm:<13} {rate:<8g} {loss:.4f}", flush=True)
    about = {"preset": config.preset, "seed": config.seed, "rows": rows}
    write_atomically(Path(config.json), json.dumps(about, indent=2, allow_nan=False) + "\n")
    return rows


def settings_of(config: RatesConfig, way: str, r: int, rate: float) -> train.TrainConfig:
    """The preset with another rate and rank, scored and saved after its last step alone."""
    where = Path(config.output_dir) / f"{way}{r if way == 'lora' else ''}-{rate:g}"
    changes = {"num_train_epochs": config.epochs, "max_steps": config.max_steps, "seed": config.seed}
    changes |= {"train": way, "lora_r": r, "learning_rate": rate, "also_test": None, "output_dir": str(where)}
    changes |= {"eval_strategy": "no", "save_strategy": "no", "precision": "fp32"}
    return dataclasses.replace(train.recipe(config.preset), **changes)


def last_loss(run: Path) -> float:
    """Nats, on the validation part, after the last step."""
    return [entry["loss"] for entry in read_metrics(run) if entry.get("part") == "validation"][-1]


if __name__ == "__main__":
    words = {"prog": "scripts/sweep_rates.py", "description": __doc__.split("\n\n")[0]}
    sys.exit(run_door(lambda: main(parse(RatesConfig, sys.argv[1:], **words)), lasting=True))

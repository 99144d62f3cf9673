"""How a pretraining went, out of the metrics.jsonl that its loop has written."""

from pathlib import Path
from typing import Any

from training.log import read_metrics

LOOK = 50  # steps that a loss shown, and one in the curve, is the mean of at most


def curve_of(work: Path) -> list[dict[str, Any]]:
    """An entry for each evaluation: step, bits_per_byte, and train_loss, the mean of the steps before it, in nats."""
    losses, curve = [], []
    for entry in read_metrics(work):
        if "part" not in entry:
            losses.append(entry["loss"])
            continue
        latest, losses = losses[-LOOK:], []
        mean = sum(latest) / len(latest)
        curve.append({"step": entry["step"], "train_loss": mean, "bits_per_byte": entry["bits_per_byte"]})
    return curve

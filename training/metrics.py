"""How good a classifier is, in numbers that a skewed class mix cannot flatter."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Metric:
    """A number that a task reports: one entry here, and progress, tables, card and choice all show it alike."""

    name: str  # in results.json
    head: str  # over its column
    text: Callable[[Any], str]
    higher_is_better: bool | None = None  # None: nobody should choose a checkpoint by it
    in_progress: bool = False  # shown at each evaluation of a run
    in_card: bool = True


def percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def interval(limits: tuple[float, float]) -> str:
    return f"{100 * limits[0]:.2f} to {100 * limits[1]:.2f} %"


def classification_metrics(log_probabilities: Tensor, labels: Tensor) -> dict[str, Any]:
    """Scores of predictions, from log probabilities (N, C) (logits will do) and label numbers (N,).

    With two labels the second is the positive class; with more, precision, recall, f1 and false positive rate are
    macro averages. `confusion_matrix[i][j]` counts rows of label i called j; `loss` is the mean cross entropy in
    nats; `accuracy_interval` is Wilson's 95 % interval.
    """
    log_probabilities = log_probabilities.double()
    n, n_labels = log_probabilities.shape
    predicted = log_probabilities.argmax(dim=-1)
    matrix = torch.zeros(n_labels, n_labels, dtype=torch.long)
    matrix.index_put_((labels, predicted), torch.ones_like(labels), accumulate=True)
    per_label = [_one_label(matrix, label) for label in range(n_labels)]
    chosen = per_label[1:] if n_labels == 2 else per_label
    names = ("precision", "recall", "f1", "false_positive_rate")
    scores = {name: sum(label[name] for label in chosen) / len(chosen) for name in names}
    correct = int(matrix.diagonal().sum())
    return {
        "accuracy": correct / n,
        **scores,
        "mcc": matthews_correlation(matrix),
        "loss": float(F.cross_entropy(log_probabilities, labels)),
        "confusion_matrix": matrix.tolist(),
        "accuracy_interval": list(wilson_interval(correct, n)),
        "rows": n,
    }


def _one_label(matrix: Tensor, label: int) -> dict[str, float]:
    hits = int(matrix[label, label])
    called, real, total = int(matrix[:, label].sum()), int(matrix[label].sum()), int(matrix.sum())
    return {
        "precision": hits / called if called else 0.0,
        "recall": hits / real if real else 0.0,
        "f1": 2 * hits / (called + real) if called + real else 0.0,
        "false_positive_rate": (called - hits) / (total - real) if total > real else 0.0,
    }


def matthews_correlation(matrix: Tensor) -> float:
    """Correlation of prediction and truth, 0 for any constant answer (Gorodkin 2004 for more than two labels)."""
    m = matrix.double()
    n, real, called = m.sum(), m.sum(dim=1), m.sum(dim=0)
    spread = (n * n - real @ real) * (n * n - called @ called)
    return float((n * m.trace() - real @ called) / spread.sqrt()) if spread > 0 else 0.0


def wilson_interval(hits: float, n: int, z: float = 1.959964) -> tuple[float, float]:
    """95 % confidence interval of a share (Wilson 1927); unlike the usual one it stays inside [0, 1]."""
    share, z2 = hits / n, z * z
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def predicts_one_label(metrics: dict[str, Any]) -> int | None:
    """The label that every row was given, if there is only one such."""
    called = [sum(column) for column in zip(*metrics["confusion_matrix"])]
    used = [label for label, count in enumerate(called) if count]
    return used[0] if len(used) == 1 and metrics["rows"] > 1 else None

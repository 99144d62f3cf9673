"""How good a classifier is, in numbers that a skewed class mix cannot flatter."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, Context
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

BINS = 15  # of the calibration error
EXACT_UP_TO = 1000  # disagreements: above it, McNemar's test takes the approximation
NEGATIVES, FALSE_POSITIVES = 500, 0.01  # so many at least make 1 % of them a number that means something


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


def classification_metrics(log_probabilities: Tensor, labels: Tensor, threshold: float | None = None) -> dict[str, Any]:
    """Scores of predictions, from log probabilities (N, C) (logits will do) and label numbers (N,).

    With two labels the second is the positive class; with more, precision, recall, f1 and false positive rate are
    macro averages. `confusion_matrix[i][j]` counts rows of label i called j; `loss` is the mean cross entropy in
    nats; `accuracy_interval` is Wilson's 95 % interval. With two labels and a `threshold`, a row is called positive
    from that probability on; without, the likelier label is taken.
    """
    log_probabilities = log_probabilities.double()
    n, n_labels = log_probabilities.shape
    predicted = predicted_labels(log_probabilities, threshold)
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
        "calibration_error": calibration_error(log_probabilities, labels),
        "confusion_matrix": matrix.tolist(),
        "accuracy_interval": list(wilson_interval(correct, n)),
        "rows": n,
    }


def predicted_labels(log_probabilities: Tensor, threshold: float | None = None) -> Tensor:
    """The label number that each row of (N, C) is given, (N,)."""
    if threshold is None:
        return log_probabilities.argmax(dim=-1)
    return (log_probabilities.double().softmax(dim=-1)[:, 1] >= threshold).long()


def calibration_error(log_probabilities: Tensor, labels: Tensor) -> float:
    """How far the probability of the answer is from the share of right answers, 0 to 1 (ECE).

    Guo et al., "On Calibration of Modern Neural Networks" (2017), equation 3: rows in 15 bins ((m - 1) / 15, m / 15] of
    the answer's probability; the mean over all rows of |share right - mean probability| of their bin.
    """
    surest, answers = log_probabilities.double().softmax(dim=-1).max(dim=-1)
    right = (answers == labels).double()
    bins = (surest * BINS).ceil().long().clamp(1, BINS) - 1
    gaps = torch.zeros(BINS, dtype=torch.double).index_add_(0, bins, right - surest)
    return float(gaps.abs().sum()) / len(labels)


def mcnemar(before: Tensor, after: Tensor, labels: Tensor) -> dict[str, Any]:
    """Whether two models that answered the same rows differ by more than chance; all three are label numbers (N,).

    McNemar 1947. `gained`: rows that only the second has right; `lost`: only the first. `p`: of as uneven a division or
    more, were both equally likely; exactly (binomial, two-sided) up to 1,000 such rows, above that by chi squared
    with continuity correction.
    """
    gained = int(((before != labels) & (after == labels)).sum())
    lost = int(((before == labels) & (after != labels)).sum())
    n, fewer = gained + lost, min(gained, lost)
    if n > EXACT_UP_TO:
        chi = (max(0, abs(gained - lost) - 1)) ** 2 / n
        p = math.erfc(math.sqrt(chi / 2))
    else:
        p = min(1.0, 2 * sum(math.comb(n, k) for k in range(fewer + 1)) / 2**n)
    return {"gained": gained, "lost": lost, "p": p, "exact": n <= EXACT_UP_TO}


def best_threshold(log_probabilities: Tensor, labels: Tensor) -> tuple[float, float] | None:
    """(threshold, F1): the probability of the second label from which calling a row positive has the best F1.

    Of two equally good the higher. None where no row is positive. It has as few digits as part the same rows, four at
    least, and is below 1: it is to be typed.
    """
    scores, order = log_probabilities.double().softmax(dim=-1)[:, 1].sort(descending=True, stable=True)
    hits = (labels[order] == 1).long().cumsum(0)
    if not len(labels) or not hits[-1]:
        return None
    f1 = 2 * hits.double() / (torch.arange(1, len(labels) + 1) + hits[-1])
    last_of_equals = torch.cat([scores[1:] != scores[:-1], torch.tensor([True])])  # a threshold cannot part equals
    at = int(torch.where(last_of_equals, f1, -1.0).argmax())
    most, below = min(float(scores[at]), math.nextafter(1, 0)), float(scores[at + 1]) if at + 1 < len(scores) else 0.0
    shorter = (float(Context(digits, ROUND_DOWN).create_decimal(most)) for digits in range(4, 17))
    return next((value for value in shorter if value > below), most), float(f1[at])


def recall_at_false_positives(log_probabilities: Tensor, labels: Tensor) -> float | None:
    """The best recall of the second label with at most 1 % of the other rows called so; None below 500 of those."""
    scores = log_probabilities.double().softmax(dim=-1)[:, 1]
    negatives = scores[labels == 0].sort(descending=True).values
    if len(negatives) < NEGATIVES or len(negatives) == len(labels):
        return None
    limit = negatives[int(FALSE_POSITIVES * len(negatives))]  # the first that must not be called positive
    return float((scores[labels == 1] > limit).double().mean())


def per_label_metrics(confusion_matrix: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Precision, recall and F1: `labels`, a list in the order of the label numbers, their `macro` mean and the mean
    `weighted` by the rows of each label."""
    matrix = torch.tensor(confusion_matrix)
    names, rows = ("precision", "recall", "f1"), matrix.sum(dim=1).tolist()
    each = [{name: _one_label(matrix, i)[name] for name in names} | {"rows": rows[i]} for i in range(len(rows))]
    total = sum(rows)
    return {
        "labels": each,
        "macro": {name: sum(label[name] for label in each) / len(each) for name in names} | {"rows": total},
        "weighted": {n: sum(x[n] * x["rows"] for x in each) / max(total, 1) for n in names} | {"rows": total},
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

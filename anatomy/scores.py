"""What stands behind a score: how answers go with the length of a text, with the threshold, and with being sure."""

from typing import Any

import torch
from torch import Tensor

from tasks.classification import Classification
from tasks.classifier import Classifier
from tasks.evaluate import evaluated
from training.metrics import BINS, classification_metrics, predicted_labels

ERRORS, GROUPS, THRESHOLDS = 12, 8, 49


def evaluation(classifier: Classifier, task: Classification, batch_size: int) -> dict[str, Any]:
    """What `infer.py --test` computes, and of the same answers: by length, by threshold, by sureness."""
    kept: dict[str, Tensor] = {}
    found = evaluated(classifier, task, task, batch_size, ERRORS, kept)
    answers, truth = kept["test"], torch.tensor(task.rows.labels(task.rows.split.test))
    found |= {"label_names": classifier.label_names, "rows": len(truth)}
    found["by_length"] = by_length(answers, truth, [len(text) for text in task.rows.test_texts])
    found["reliability"] = reliability(answers, truth)
    chosen = found.get("best_threshold")
    found["threshold_curve"] = (
        threshold_curve(answers, truth, chosen and chosen["threshold"]) if answers.shape[1] == 2 else []
    )
    return found


def by_length(answers: Tensor, truth: Tensor, lengths: list[int]) -> list[dict[str, Any]]:
    """Groups of about equal size, the shortest texts (in characters) first: how many are right, said and truly so.

    `said` and `true` are shares of the second of two labels, of more labels a list with the share of each.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    said, rows, start = predicted_labels(answers), [], 0
    labels = range(1, 2) if answers.shape[1] == 2 else range(answers.shape[1])
    for number in range(GROUPS):
        end = max(start, (number + 1) * len(order) // GROUPS)
        while start < end < len(order) and lengths[order[end]] == lengths[order[end - 1]]:
            end += 1  # equal lengths stay together
        if end > start:
            at = torch.tensor(order[start:end])
            shares = [[float((kind[at] == label).double().mean()) for label in labels] for kind in (said, truth)]
            said_share, true_share = (share[0] if len(labels) == 1 else share for share in shares)
            row = {"from": lengths[order[start]], "to": lengths[order[end - 1]], "rows": end - start}
            row["right"] = float((said[at] == truth[at]).double().mean())
            rows.append(row | {"said": said_share, "true": true_share})
        start = end
    return rows


def reliability(answers: Tensor, truth: Tensor) -> list[dict[str, Any]]:
    """Bins of the answer's probability, those of the calibration error: how sure, and how often right."""
    surest, said = answers.double().softmax(dim=-1).max(dim=-1)
    bins, rows = (surest * BINS).ceil().long().clamp(1, BINS), []
    for number in range(1, BINS + 1):
        at = bins == number
        if at.any():
            right = (said[at] == truth[at]).double().mean()
            rows.append({"confidence": float(surest[at].mean()), "accuracy": float(right), "rows": int(at.sum())})
    return rows


def threshold_curve(answers: Tensor, truth: Tensor, chosen: float | None = None) -> list[dict[str, Any]]:
    """Of two labels: precision, recall and F1 when the second is the answer from a probability on; `chosen` is one."""
    rows, even = [], {number / (THRESHOLDS + 1) for number in range(1, THRESHOLDS + 1)}
    for threshold in sorted(even if chosen is None else even | {chosen}):
        scores = classification_metrics(answers, truth, threshold)
        rows.append({"threshold": threshold} | {name: scores[name] for name in ("precision", "recall", "f1")})
    return rows

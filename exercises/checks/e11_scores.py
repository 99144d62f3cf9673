"""Exercise 11: against training/metrics.py, on confusion matrices that tell the mistakes apart."""

from collections.abc import Callable

import torch
import torch.nn.functional as F

from exercises.judge import compare
from training.metrics import classification_metrics

TITLE = "Score an imbalanced task"
CHAPTER = "docs/09-classification.md"
HINT = "count (label, said) pairs: (1, 1) are hits, (1, 0) missed spam, (0, 1) false alarms, (0, 0) the rest."
SEE = "training/metrics.py, classification_metrics"
Labels = list[int]


def right(labels: Labels, predicted: Labels) -> dict[str, float]:
    logits = F.one_hot(torch.tensor(predicted), 2).double()
    found = classification_metrics(logits, torch.tensor(labels))
    kept = {name: found[name] for name in ("accuracy", "precision", "recall", "f1")}
    return kept | {"balanced_accuracy": (found["recall"] + 1 - found["false_positive_rate"]) / 2}


def with_(**changes: Callable[[dict[str, float]], float]) -> Callable:
    """The right scores with some of them computed otherwise, from the right ones."""
    return lambda labels, predicted: (
        right(labels, predicted) | {name: change(right(labels, predicted)) for name, change in changes.items()}
    )


def for_ham(labels: Labels, predicted: Labels) -> dict[str, float]:
    return right([1 - label for label in labels], [1 - label for label in predicted])


def divided(labels: Labels, predicted: Labels) -> dict[str, float]:
    if 1 not in predicted:
        raise ZeroDivisionError
    return right(labels, predicted)


def half_divided(labels: Labels, predicted: Labels) -> dict[str, float]:
    if not right(labels, predicted)["f1"]:
        raise ZeroDivisionError
    return right(labels, predicted)


def one(labels: Labels, predicted: Labels) -> dict[str, float]:
    return right(labels, predicted) | ({} if 1 in predicted else {"precision": 1.0})


MISTAKES = {
    "you scored ham: label 1, spam, is the class to find": for_ham,
    "precision and recall are exchanged: precision looks at what was called spam, recall at what is spam": with_(
        precision=lambda s: s["recall"], recall=lambda s: s["precision"]
    ),
    "f1 is not the mean of precision and recall: it is 2 p r / (p + r), which the smaller one pulls down": with_(
        f1=lambda s: (s["precision"] + s["recall"]) / 2
    ),
    "f1 wants the factor 2: it is 2 p r / (p + r)": with_(f1=lambda s: s["f1"] / 2),
    "your f1 is the accuracy: on skewed labels that is the number that flatters": with_(f1=lambda s: s["accuracy"]),
    "your balanced accuracy is the plain accuracy: take the mean of the two labels' recalls": with_(
        balanced_accuracy=lambda s: s["accuracy"]
    ),
    "balanced accuracy is the mean of the two labels' recalls, not of precision and recall": with_(
        balanced_accuracy=lambda s: (s["precision"] + s["recall"]) / 2
    ),
    "balanced accuracy: the recalls are added up and not halved": with_(
        balanced_accuracy=lambda s: 2 * s["balanced_accuracy"]
    ),
    "where nothing is called spam, precision is 0 / 0 and you divide: return 0 there": divided,
    "where there are no hits, f1 is 0 / 0 and you divide: return 0 there": half_divided,
    "where nothing is called spam, precision is 0 here: 1 would praise a filter that does nothing": one,
    "the scores are shares from 0 to 1, not percentages": lambda labels, predicted: {
        name: 100 * value for name, value in right(labels, predicted).items()
    },
}


def more_right_than(bar: Callable[[Labels, Labels], float], ties: bool = False) -> Callable:
    def beats(labels: Labels, predicted: Labels) -> bool:
        hits = sum(label == said for label, said in zip(labels, predicted))
        return hits > bar(labels, predicted) or (ties and hits == bar(labels, predicted))

    return beats


def majority(labels: Labels, predicted: Labels) -> int:
    return max(labels.count(0), labels.count(1))


BEATS_MISTAKES = {
    "half of the rows is the bar only for balanced labels: always answering the most frequent label does better": (
        more_right_than(lambda labels, predicted: len(labels) / 2)
    ),
    "as many right as by the most frequent label is no win: that is the majority trap itself": more_right_than(
        majority, ties=True
    ),
    "the most frequent label is not always ham: count both": more_right_than(lambda labels, said: labels.count(0)),
    "the most frequent label must be looked up in `labels`, not in `predicted`": more_right_than(
        lambda labels, said: labels.count(max(set(said), key=said.count))
    ),
    "that is the other way round: True where the predictions are better": lambda labels, predicted: (
        not more_right_than(majority)(labels, predicted)
    ),
    "f1 above 0 does not beat the majority: compare how many rows are right": lambda labels, predicted: (
        right(labels, predicted)["f1"] > 0
    ),
}


def rows(hits: int, misses: int, alarms: int, passed: int) -> tuple[Labels, Labels]:
    labels = [1] * (hits + misses) + [0] * (alarms + passed)
    return labels, [1] * hits + [0] * misses + [1] * alarms + [0] * passed


def check(scores: Callable, beats_majority: Callable) -> None:
    matrices = {
        "a filter with 3 hits, 2 misses, 1 false alarm, 10 passed": (3, 2, 1, 10),
        "the original run's 91 %, if it raised no false alarm": (44, 100, 0, 971),
        "one that calls nothing spam": (0, 3, 0, 7),
        "one that calls everything spam": (3, 0, 7, 0),
        "one that is always wrong": (0, 2, 4, 0),
    }
    compare(scores, right, {f"scores of {what}": rows(*counts) for what, counts in matrices.items()}, MISTAKES)
    matrices |= {
        "the original run's 85 %": (0, 144, 24, 947),
        "mostly spam, and a filter that finds most of it": (8, 1, 3, 0),
        "mostly spam, and a better filter": (9, 1, 1, 2),
        "balanced labels, and a filter just above half": (3, 2, 2, 3),
    }
    cases = {f"beats_majority, for {what}": rows(*counts) for what, counts in matrices.items()}
    compare(beats_majority, more_right_than(majority), cases, BEATS_MISTAKES)

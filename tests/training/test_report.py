"""Tables for a terminal: none is wider than it, and of many labels only the commonest confusions are told."""

from statistics import NormalDist

import pytest
import torch

from tasks.classification import METRICS
from training.metrics import (
    best_threshold,
    calibration_error,
    classification_metrics,
    mcnemar,
    per_label_metrics,
    recall_at_false_positives,
)
from training.report import comparison_table, label_tables


def scores_of(labels: int, rows: int = 400):
    generator = torch.Generator().manual_seed(labels)
    logits, truth = torch.randn(rows, labels, generator=generator), torch.arange(rows) % labels
    return classification_metrics(logits, truth)


@pytest.mark.parametrize("width", [40, 60, 80, 140])
@pytest.mark.parametrize("labels", [2, 3, 10, 60])
def test_no_table_is_wider_than_the_terminal(labels, width):
    scores = scores_of(labels)
    names = [f"a rather long name of the label number {i}" for i in range(labels)]
    rows = {"before": scores, "after (full fine-tuning)": scores, "naive_bayes": scores}
    text = comparison_table(rows, METRICS, width) + "\n" + label_tables(scores, names, width)
    assert max(map(len, text.splitlines())) <= width
    assert all(metric.head in text for metric in METRICS)


def test_above_ten_labels_the_twenty_commonest_confusions_stand_for_the_matrix():
    scores = scores_of(11)
    text = label_tables(scores, [f"label{i}" for i in range(11)])
    told = text.split("commonest of ")[1].splitlines()[2:]
    counts = [int(line.split()[-1]) for line in told]
    assert len(counts) == 20 and counts == sorted(counts, reverse=True)
    assert max(n for i, row in enumerate(scores["confusion_matrix"]) for j, n in enumerate(row) if i != j) == counts[0]
    assert "truth \\ said" in label_tables(scores_of(10), [f"label{i}" for i in range(10)])


def test_macro_and_weighted_are_the_means_over_labels_and_over_rows():
    told = per_label_metrics([[8, 2, 0], [1, 1, 0], [0, 0, 4]])
    assert [label["recall"] for label in told["labels"]] == [0.8, 0.5, 1.0]
    assert told["macro"]["recall"] == pytest.approx(2.3 / 3)
    assert told["weighted"]["recall"] == pytest.approx(13 / 16)


def test_calibration_error_is_the_gap_between_how_sure_and_how_right():
    sure = torch.tensor([[0.1, 0.9]] * 10).log()
    assert calibration_error(sure, torch.tensor([1] * 9 + [0])) == pytest.approx(0, abs=1e-6)
    assert calibration_error(sure, torch.tensor([1] * 4 + [0] * 6)) == pytest.approx(0.5, abs=1e-6)


def test_mcnemar_counts_only_where_one_of_the_two_is_right():
    truth = torch.zeros(20, dtype=torch.long)
    before, after = truth.clone(), truth.clone()
    before[:8], after[8:9] = 1, 1
    told = mcnemar(before, after, truth)
    assert (told["gained"], told["lost"]) == (8, 1)
    assert told["p"] == pytest.approx(2 * (1 + 9) / 2**9) and mcnemar(before, before, truth)["p"] == 1
    many = torch.arange(3000) < 1600
    p = mcnemar(many.long(), (~many).long(), torch.zeros(3000, dtype=torch.long))
    normal = 2 * NormalDist().cdf(-199 / 3000**0.5)  # chi squared is 199**2 / 3000
    assert not p["exact"] and p["p"] == pytest.approx(normal)


def test_the_best_threshold_does_not_part_equal_probabilities():
    logits = torch.tensor([[0.2, 0.8], [0.4, 0.6], [0.4, 0.6], [0.7, 0.3]]).log()
    threshold, f1 = best_threshold(logits, torch.tensor([1, 1, 0, 0]))
    assert (threshold, f1) == (pytest.approx(0.6), pytest.approx(0.8))
    assert classification_metrics(logits, torch.tensor([1, 1, 0, 0]), threshold)["f1"] == pytest.approx(f1)
    assert best_threshold(logits, torch.tensor([0, 0, 0, 0])) is None


@pytest.mark.parametrize(
    ("positive", "negative", "typed"),
    [(0.73456, 0.2, "0.7345"), (0.73456, 0.73455, "0.73456"), (1 - 1.4e-10, 0.99999, "0.999999"),
     (1.0, 0.5, "0.9999"), (3.21987e-9, 1e-9, "3.219e-09")],
)  # fmt: skip
def test_the_best_threshold_can_be_typed_as_it_is_printed_and_gives_its_f1(positive, negative, typed):
    p = torch.tensor([positive, negative], dtype=torch.double)
    logits = torch.stack([torch.zeros(2, dtype=torch.double), p.log() - (1 - p).log().clamp_min(-100)], 1)
    threshold, f1 = best_threshold(logits, torch.tensor([1, 0]))
    assert f1 == 1 and 0 < threshold < 1 and repr(threshold).startswith(typed)
    assert classification_metrics(logits, torch.tensor([1, 0]), float(repr(threshold)))["f1"] == 1


def test_recall_at_one_percent_false_positives_lets_five_of_500_pass():
    negatives = [0.9] * 5 + [0.5] * 495
    scores = torch.tensor([*negatives, 0.95, 0.8, 0.5, 0.2])
    logits, labels = torch.stack([1 - scores, scores], 1).log(), torch.tensor([0] * 500 + [1] * 4)
    assert recall_at_false_positives(logits, labels) == 0.5
    assert recall_at_false_positives(logits[1:], labels[1:]) is None

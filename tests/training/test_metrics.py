"""Scores against cases counted by hand, and the ones that a skewed mix of labels would like to flatter."""

import math

import pytest
import torch

from training.metrics import classification_metrics, matthews_correlation, predicts_one_label, wilson_interval


def scores_of(matrix: list[list[int]]) -> dict:
    """The metrics of predictions with the given confusion matrix, each prediction made with full conviction."""
    pairs = [(i, j) for i, row in enumerate(matrix) for j, count in enumerate(row) for _ in range(count)]
    labels = torch.tensor([label for label, _ in pairs])
    logits = torch.nn.functional.one_hot(torch.tensor([said for _, said in pairs]), len(matrix)) * 20.0
    return classification_metrics(logits, labels)


def test_two_labels_are_scored_as_counted_by_hand():
    scores = scores_of([[90, 10], [5, 15]])
    assert scores["confusion_matrix"] == [[90, 10], [5, 15]]
    assert scores["rows"] == 120
    assert scores["accuracy"] == 105 / 120
    assert scores["precision"] == 15 / 25
    assert scores["recall"] == 15 / 20
    assert scores["f1"] == pytest.approx(2 * 0.6 * 0.75 / (0.6 + 0.75))
    assert scores["false_positive_rate"] == 10 / 100
    assert scores["mcc"] == pytest.approx((15 * 90 - 10 * 5) / math.sqrt(25 * 20 * 100 * 95))


def test_three_labels_are_scored_by_macro_averages():
    scores = scores_of([[8, 1, 1], [2, 4, 0], [0, 0, 4]])
    assert scores["accuracy"] == 16 / 20
    assert scores["precision"] == pytest.approx((8 / 10 + 4 / 5 + 4 / 5) / 3)
    assert scores["recall"] == pytest.approx((8 / 10 + 4 / 6 + 4 / 4) / 3)
    assert scores["f1"] == pytest.approx((16 / 20 + 8 / 11 + 8 / 9) / 3)
    assert scores["false_positive_rate"] == pytest.approx((2 / 10 + 1 / 14 + 1 / 16) / 3)
    # Gorodkin: (n * trace - sum t_k p_k) / sqrt((n^2 - sum p_k^2)(n^2 - sum t_k^2))
    expected = (20 * 16 - (10 * 10 + 6 * 5 + 4 * 5)) / math.sqrt((400 - 150) * (400 - 152))
    assert scores["mcc"] == pytest.approx(expected)


def test_always_ham_has_a_fine_accuracy_and_nothing_else():
    scores = scores_of([[971, 0], [144, 0]])
    assert scores["accuracy"] == 971 / 1115
    assert [scores[name] for name in ("f1", "precision", "recall", "mcc", "false_positive_rate")] == [0] * 5


def test_always_spam_has_full_recall_and_no_correlation():
    scores = scores_of([[0, 971], [0, 144]])
    assert scores["recall"] == 1
    assert scores["false_positive_rate"] == 1
    assert scores["precision"] == 144 / 1115
    assert scores["mcc"] == 0


def test_a_perfect_and_a_perverse_classifier_are_at_the_ends_of_mcc():
    assert matthews_correlation(torch.tensor([[7, 0], [0, 3]])) == 1
    assert matthews_correlation(torch.tensor([[0, 7], [3, 0]])) == -1
    assert matthews_correlation(torch.tensor([[5, 0, 0], [0, 2, 0], [0, 0, 9]])) == 1


def test_mcc_survives_counts_whose_fourth_power_overflows_an_integer():
    many = 10**6
    assert matthews_correlation(torch.tensor([[many, 0], [0, many]])) == pytest.approx(1)


def test_a_label_without_rows_counts_as_zero_and_not_as_an_error():
    scores = scores_of([[3, 1, 0], [0, 2, 0], [0, 0, 0]])
    assert scores["recall"] == pytest.approx((3 / 4 + 1 + 0) / 3)
    assert scores["precision"] == pytest.approx((1 + 2 / 3 + 0) / 3)


def test_the_loss_is_the_mean_cross_entropy_in_nats_of_logits_or_log_probabilities():
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    labels = torch.tensor([0, 0, 1])
    by_hand = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(1)) + math.log(2)) / 3
    assert classification_metrics(logits, labels)["loss"] == pytest.approx(by_hand, rel=1e-9)
    assert classification_metrics(logits.log_softmax(-1), labels)["loss"] == pytest.approx(by_hand, rel=1e-6)


def test_scores_can_be_written_as_json_numbers():
    scores = scores_of([[3, 1], [1, 3]])
    numbers = {type(value) for value in scores.values()}
    assert numbers <= {int, float, list}


@pytest.mark.parametrize(
    "matrix, label",
    [([[9, 0], [3, 0]], 0), ([[0, 9], [0, 3]], 1), ([[9, 0], [2, 1]], None), ([[0, 0, 4], [0, 0, 1], [0, 0, 2]], 2)],
)
def test_a_model_that_says_one_label_only_is_found_out(matrix, label):
    assert predicts_one_label(scores_of(matrix)) == label


def test_one_row_is_no_reason_for_a_warning():
    assert predicts_one_label(scores_of([[1, 0], [0, 0]])) is None


@pytest.mark.parametrize(
    "hits, n, low, high",
    # The first by Wilson's formula in decimals of 30 digits; 81 of 263 and 15 of 148 stand in Newcombe 1998, table I.
    [(1004, 1115, 0.881476, 0.916671), (81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (1, 29, 0.0061, 0.1718)],
)
def test_wilsons_interval_has_known_values(hits, n, low, high):
    assert wilson_interval(hits, n) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("n", [1, 10, 1115])
def test_wilsons_interval_stays_between_0_and_1_and_has_a_width_at_both_ends(n):
    z2 = 1.959964**2
    low, high = wilson_interval(0, n)
    assert 0 <= low < 1e-12
    assert high == pytest.approx(z2 / (n + z2))
    low, high = wilson_interval(n, n)
    assert 1 - 1e-12 < high <= 1
    assert low == pytest.approx(n / (n + z2))


def test_the_interval_of_the_accuracy_is_wilsons():
    scores = scores_of([[90, 10], [5, 15]])
    assert scores["accuracy_interval"] == list(wilson_interval(105, 120))
    assert scores["accuracy_interval"][0] < scores["accuracy"] < scores["accuracy_interval"][1]

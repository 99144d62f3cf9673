"""What a classifier's scores are told with when they are worth nothing."""

import pytest
import torch

import data
from tasks.classification import Classification
from training.metrics import classification_metrics


def warning(matrix: list[list[int]]) -> str:
    """What is said of answers that give this confusion matrix."""
    truth = torch.tensor([i for i, counts in enumerate(matrix) for _ in range(sum(counts))])
    said = torch.tensor([j for counts in matrix for j, count in enumerate(counts) for _ in range(count)])
    scores = classification_metrics(torch.nn.functional.one_hot(said, len(matrix)).float(), truth)
    rows = data.TextDataset("m", [], [], ["ham", "spam", "offer"][: len(matrix)])
    return Classification(data.Task(rows, data.Split([], [], []), [], 8, 0, 0, 0)).warning(scores)


@pytest.mark.parametrize("matrix", [[[6, 2], [1, 1]], [[1, 1], [2, 6]], [[3, 2, 0], [1, 1, 0], [1, 1, 0]]])
def test_a_score_below_that_of_always_saying_the_commonest_label_is_warned_of(matrix):
    right, most, rows = sum(matrix[i][i] for i in range(len(matrix))), max(map(sum, matrix)), sum(map(sum, matrix))
    told = warning(matrix)
    assert f"The accuracy, {100 * right / rows:.2f} %, is below that of always saying the commonest label" in told
    assert f"{100 * most / rows:.2f} %.\n" in told and "--learning_rate" in told


@pytest.mark.parametrize("matrix", [[[7, 1], [1, 1]], [[8, 0], [1, 1]], [[4, 1, 0], [1, 1, 0], [0, 0, 1]]])
def test_a_score_as_good_as_that_is_not(matrix):
    assert warning(matrix) == ""


def test_one_label_for_all_is_told_as_that():
    assert "calls every test row 'ham'" in warning([[8, 0], [2, 0]])

"""What one gets without a language model: the scores a fine-tuned model has to beat."""

import math

import pytest

from data import Source, TextRule, load_texts, split_rows
from data.baselines import BASELINES, digits_regex, majority, naive_bayes

TEXTS = ["call 08001234 now", "win 5000 pounds", "see you at 8", "lunch at 12", "ok", "room 1234"]
LABELS = [1, 1, 0, 0, 0, 0]


@pytest.fixture(scope="module")
def accuracy(sms_file):
    """The accuracy of each baseline on the 1,115 test rows of the notebook's split."""
    sms = load_texts(Source(str(sms_file)), TextRule())
    split = split_rows(sms, "seed", test_size=0.2, val_size=0.0, seed=23)
    texts, labels = ([values[row] for row in split.train] for values in (sms.texts, sms.labels))
    test = [sms.texts[row] for row in split.test]
    scores = {}
    for name, rule in BASELINES.items():
        predicted = [p.index(max(p)) for p in rule(texts, labels, 2, test)]
        scores[name] = sum(p == sms.labels[row] for p, row in zip(predicted, split.test)) / 1115
    return scores


def test_the_majority_scores_971_of_1115_on_the_notebooks_split(accuracy):
    assert accuracy["majority"] == 971 / 1115


def test_four_digits_in_a_row_score_97_49_percent(accuracy):
    assert accuracy["digits_regex"] == 1087 / 1115


def test_naive_bayes_scores_about_98_8_percent(accuracy):
    assert accuracy["naive_bayes"] == pytest.approx(0.988, abs=0.002)


def test_the_majority_gives_every_text_the_shares_of_the_labels():
    assert majority(TEXTS, LABELS, 2, ["a", "b"]) == [[5 / 8, 3 / 8]] * 2


def test_the_digits_rule_answers_by_what_training_rows_with_digits_were():
    no_digits, digits = digits_regex(TEXTS, LABELS, 2, ["hello 123", "hello 1234"])
    assert no_digits == [4 / 5, 1 / 5]  # three ham of three, one added to each count
    assert digits == [2 / 5, 3 / 5]  # one ham and two spam
    assert digits_regex(["a"], [0], 2, ["1234"]) == [[0.5, 0.5]]


def test_naive_bayes_agrees_with_a_calculation_by_hand():
    ((ham, spam),) = naive_bayes(["a b", "a a", "b c"], [0, 0, 1], 2, ["a c unseen"])
    # ham: counts a 3, b 1, c 0; spam: b 1, c 1; a vocabulary of three words, one added to every count
    of_ham, of_spam = 3 / 5 * (4 / 7) * (1 / 7), 2 / 5 * (1 / 5) * (2 / 5)
    assert ham == pytest.approx(of_ham / (of_ham + of_spam))
    assert spam == pytest.approx(of_spam / (of_ham + of_spam))


def test_naive_bayes_survives_a_text_of_a_hundred_thousand_words():
    ((ham, spam),) = naive_bayes(["a b", "b c"], [0, 1], 2, ["a " * 100_000])
    assert (ham, spam) == (1.0, 0.0)


@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_gives_probabilities_for_three_labels_one_of_them_without_rows(name):
    rows = BASELINES[name](TEXTS, LABELS, 3, ["see 1234", "", "🙂"])
    assert len(rows) == 3
    for row in rows:
        assert len(row) == 3
        assert math.isclose(sum(row), 1)
        assert all(0 < p < 1 for p in row)

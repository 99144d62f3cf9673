"""`python train.py` as a visitor meets it: what it learned holds for what people type, not in its test part alone."""

import os

import pytest

import infer
import train

SPAM = [
    "Congratulations! You won",
    "You have been selected for a gift card, click here",
    "Your parcel is held, pay the fee at track.example",
    "Final notice: your account will be closed",
]
HAM = [
    "See you at 8",
    "Congratulations on the new job!",
    "Your parcel came, I put it in the hall",
    "Free for a coffee tomorrow?",
]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(results, the run's directory) of the default settings, in float32: with bf16 the numbers are the machine's."""
    directory = tmp_path_factory.mktemp("runs") / "tiny"
    before = os.getcwd()
    os.chdir(directory.parent)
    try:
        settings = train.read_settings(["--output_dir", str(directory), "--device", "cpu", "--precision", "fp32"])
        return train.main(settings), directory
    finally:
        os.chdir(before)


def test_nine_in_ten_of_the_typed_messages_are_right_and_neither_class_is_sacrificed(run):
    typed = run[0]["also_test"]
    assert typed["dataset"] == "data/messages/typed.tsv" and typed["seen"] == 0
    assert typed["after"]["accuracy"] >= 0.9  # 94.5 % where it was measured; another processor rounds otherwise
    for label, counts in enumerate(typed["after"]["confusion_matrix"]):
        assert counts[label] / sum(counts) >= 0.85


def test_the_test_part_is_answered_far_better_than_always_ham(run):
    results = run[0]
    assert results["after"]["accuracy"] >= results["baselines"]["majority"]["accuracy"] + 0.18


def test_of_the_first_messages_that_anybody_types_at_most_one_is_answered_wrongly(run):
    classifier = infer.load_classifier(run[1], device="cpu")
    said = dict(zip(SPAM + HAM, map(classifier.label, classifier.probabilities(SPAM + HAM))))
    wanted = dict.fromkeys(SPAM, "spam") | dict.fromkeys(HAM, "ham")
    assert sum(said[text] != label for text, label in wanted.items()) <= 1, said

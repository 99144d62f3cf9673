"""Dividing rows: each row once, the notebook's split row for row, and near-duplicates on one side."""

import math
import random
import re
from collections import Counter

import numpy as np
import pytest
import torch

from data import SPLITS, DataError, Source, TextDataset, TextRule, count_seen, load_texts, split_rows
from data.splits import near_duplicate_groups

hypothesis = pytest.importorskip("hypothesis", reason="pip install -r requirements-dev.txt to run these tests")
given, settings, st = hypothesis.given, hypothesis.settings, hypothesis.strategies


WORDS = [f"{a}{b}" for a in "bdfgk" for b in "aeiouy"]


@pytest.fixture(scope="module")
def sms(sms_file):
    return load_texts(Source(str(sms_file)), TextRule())


def made_up(n: int, seed: int = 0, labels: int = 2) -> TextDataset:
    """`n` texts of a few words, a third of them made out of an earlier one by one word more; every label occurs."""
    rng = random.Random(seed)
    texts = []
    for _ in range(n):
        old = rng.random() < 0.33 and texts
        texts.append(
            f"{rng.choice(texts)} {rng.randint(0, 9)}" if old else " ".join(rng.sample(WORDS, rng.randint(3, 8)))
        )
    return TextDataset("made up", texts, [row % labels for row in range(n)], [f"label {i}" for i in range(labels)])


def test_the_seed_split_is_numpys_permutation_whose_first_fifth_tests(sms):
    split = split_rows(sms, "seed", test_size=0.2, val_size=0.0, seed=23)
    order = np.random.default_rng(23).permutation(5574).tolist()
    assert (len(split.train), len(split.val), len(split.test)) == (4459, 0, 1115)
    assert split.test == order[:1115]
    assert split.train == order[1115:]
    assert sum(sms.label_names[sms.labels[row]] == "ham" for row in split.test) == 971


@pytest.mark.parametrize("n", [5, 10, 99, 5574])
def test_the_seed_split_is_that_of_the_datasets_library(n):
    datasets = pytest.importorskip("datasets")
    dataset = TextDataset("numbers", [str(row) for row in range(n)], [0] * n, ["all"])
    reference = datasets.Dataset.from_dict({"row": range(n)}).train_test_split(test_size=0.2, shuffle=True, seed=23)
    split = split_rows(dataset, "seed", test_size=0.2, val_size=0.0, seed=23)
    assert split.test == reference["test"]["row"][:]
    assert split.train == reference["train"]["row"][:]


def test_111_test_rows_of_the_seed_split_are_in_training_word_for_word(sms):
    assert count_seen(sms, split_rows(sms, "seed", test_size=0.2, val_size=0.0, seed=23)) == 111


def test_validation_rows_of_the_seed_split_come_out_of_training_alone(sms):
    without = split_rows(sms, "seed", test_size=0.2, val_size=0.0, seed=23)
    split = split_rows(sms, "seed", test_size=0.2, val_size=0.1, seed=23)
    assert split.test == without.test
    assert split.val + split.train == without.train
    assert len(split.val) == math.ceil(0.1 * 4459)


@pytest.mark.promise("P4")
@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(SPLITS),
    n=st.integers(12, 150),
    seed=st.integers(0, 2**32 - 1),
    test_size=st.floats(0.05, 0.6),
    val_size=st.one_of(st.just(0.0), st.floats(0.05, 0.5)),
    labels=st.integers(1, 3),
)
def test_every_row_is_in_exactly_one_part(kind, n, seed, test_size, val_size, labels):
    dataset = made_up(n, seed, labels)
    try:
        split = split_rows(dataset, kind, test_size, val_size, seed)
    except DataError:
        return
    assert sorted(split.train + split.val + split.test) == list(range(n))
    assert split.train and split.test
    assert bool(split.val) == (val_size > 0)
    assert {dataset.labels[row] for row in split.train} == set(range(labels))


@pytest.mark.parametrize("kind", SPLITS)
def test_the_parts_have_the_shares_asked_for(kind):
    split = split_rows(made_up(400), kind, test_size=0.25, val_size=0.1, seed=1)
    assert 95 <= len(split.test) <= 103
    assert 27 <= len(split.val) <= 33


@pytest.mark.parametrize("kind", SPLITS)
def test_the_same_seed_gives_the_same_split_and_another_seed_another(kind):
    first, again, other = (split_rows(made_up(100), kind, 0.2, 0.1, seed) for seed in (5, 5, 6))
    assert first == again
    assert set(first.test) != set(other.test)


@pytest.mark.parametrize("kind", SPLITS)
def test_the_rows_of_a_part_are_shuffled(kind):
    split = split_rows(made_up(200), kind, 0.2, 0.1, seed=5)
    assert split.train != sorted(split.train)
    assert max(split.test) > 150 and min(split.test) < 50


def test_a_stratified_split_gives_every_label_its_share_in_each_part():
    labels = [0] * 500 + [1] * 100 + [2] * 30
    dataset = TextDataset("skewed", [str(row) for row in range(630)], labels, ["a", "b", "c"])
    split = split_rows(dataset, "stratified", test_size=0.2, val_size=0.25, seed=3)
    counts = [Counter(labels[row] for row in part) for part in (split.test, split.val, split.train)]
    assert counts == [{0: 100, 1: 20, 2: 6}, {0: 100, 1: 20, 2: 6}, {0: 300, 1: 60, 2: 18}]


def test_a_label_with_one_row_trains_in_a_stratified_split():
    dataset = TextDataset("rare", [str(row) for row in range(21)], [0] * 20 + [1], ["common", "rare"])
    for seed in range(20):
        assert 20 in split_rows(dataset, "stratified", 0.4, 0.4, seed).train


def test_a_label_that_would_not_be_trained_is_told():
    dataset = TextDataset("rare", [str(row) for row in range(20)], [0] * 19 + [1], ["common", "rare"])
    row_19_tests = next(s for s in range(100) if 19 in np.random.default_rng(s).permutation(20)[:10])
    with pytest.raises(DataError, match="rare: label 'rare' has no row in the training part; use --split stratified"):
        split_rows(dataset, "seed", 0.5, 0.0, row_19_tests)


@pytest.mark.parametrize("kind", SPLITS)
@pytest.mark.parametrize("n", [1, 2])
def test_too_few_rows_are_told(kind, n):
    with pytest.raises(DataError, match=f"made up: {n} rows are too few"):
        split_rows(made_up(n, labels=1), kind, 0.2, 0.1, 0)


def test_a_data_set_of_near_duplicates_cannot_be_grouped_and_the_largest_group_is_named():
    texts = ["lone", *(f"your code is {i} please use it soon" for i in range(8)), "another one"]
    with pytest.raises(
        DataError, match=r"10 rows \(near-dup.* of 'your code is 0 .*' are 8 of them\) are too few for a"
    ):
        split_rows(TextDataset("codes", texts, [0] * 10, ["a"]), "grouped", 0.9, 0.9, 0)


def test_a_label_that_no_row_has_is_no_reason_to_refuse_a_split():
    dataset = TextDataset("declared", [str(row) for row in range(20)], [0, 2] * 10, ["a", "never used", "b"])
    assert {dataset.labels[row] for row in split_rows(dataset, "stratified", 0.2, 0.1, 0).train} == {0, 2}


@pytest.mark.parametrize("test_size, val_size", [(0.0, 0.1), (1.0, 0.1), (-0.1, 0.1), (0.2, 1.0), (0.2, -0.1)])
def test_shares_that_make_no_sense_are_told(test_size, val_size):
    with pytest.raises(DataError, match=f"test_size {test_size} must lie .* val_size {val_size}"):
        split_rows(made_up(50), "random", test_size, val_size, 0)


def test_near_duplicates_are_grouped_through_chains_and_whatever_case_or_marks():
    chain = ["a b c d e f g h", "b c d e f g h i", "c d e f g h i j"]  # 7/9, 7/9, but 6/10 between the ends
    texts = ["see you", chain[0], "Win £100 NOW!!", chain[2], "win 100 now", "...", chain[1], "...", "!!!"]
    assert sorted(near_duplicate_groups(texts)) == [[0], [1, 3, 6], [2, 4], [5, 7], [8]]


def test_an_overlap_of_exactly_seven_tenths_counts_and_less_does_not():
    assert near_duplicate_groups(["a b c d e f g", "a b c d e f g h i j"]) == [[0, 1]]
    assert near_duplicate_groups(["a b c d e f g", "a b c d e f g h i j k"]) == [[0], [1]]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 60))
def test_the_groups_are_those_of_comparing_all_pairs(seed, n):
    texts = made_up(n, seed).texts
    bags = [set(text.split()) for text in texts]
    group = list(range(n))
    for a in range(n):
        for b in range(a):
            if 10 * len(bags[a] & bags[b]) >= 7 * len(bags[a] | bags[b]):
                old, new = group[a], group[b]
                group = [new if g == old else g for g in group]
    expected = {frozenset(row for row in range(n) if group[row] == g) for g in group}
    assert {frozenset(rows) for rows in near_duplicate_groups(texts)} == expected


def test_no_near_duplicate_crosses_a_grouped_split_of_the_sms_collection(sms):
    split = split_rows(sms, "grouped", test_size=0.2, val_size=0.1, seed=23)
    assert abs(len(split.test) - 1115) < 12
    assert closest(sms.texts, split.test, split.train + split.val) < 0.7
    assert closest(sms.texts, split.val, split.train) < 0.7
    assert count_seen(sms, split) == 0
    seed = split_rows(sms, "seed", test_size=0.2, val_size=0.1, seed=23)
    assert closest(sms.texts, seed.test, seed.train) == 1


def closest(texts: list[str], some: list[int], others: list[int]) -> float:
    """The largest Jaccard overlap of word sets between two parts, every pair compared."""
    bags = [sorted(set(re.findall(r"\w+", text.lower()))) for text in texts]
    number = {word: i for i, word in enumerate({word for bag in bags for word in bag})}

    def matrix(rows: list[int]) -> torch.Tensor:
        counts = torch.zeros(len(rows), len(number))
        for i, row in enumerate(rows):
            counts[i, [number[word] for word in bags[row]]] = 1
        return counts

    a, b = matrix(some), matrix(others)
    common = a @ b.T
    union = a.sum(1)[:, None] + b.sum(1)[None] - common
    return float((common / union.clamp(min=1)).max())

"""The bundled messages: enough of them, no two alike, harmless addresses and numbers, no cheap way to tell them.

messages.tsv trains, chooses and tests; typed.tsv is what people type to try a filter, and only tests.
"""

import re
from collections import defaultdict
from pathlib import Path

import pytest

from data import Source, TextRule, load_texts
from data.splits import near_duplicate_groups

FOLDER = Path(__file__).resolve().parents[2] / "data" / "messages"
LINK = re.compile(r"(?:https?://)?((?:[\w-]+\.)+[a-z]{2,})", re.IGNORECASE)
RESERVED_HOST = re.compile(r"(?:.*\.)?(?:example\.(?:com|net|org)|[\w-]+\.(?:example|test|invalid))", re.IGNORECASE)
NUMBER = re.compile(r"\+?\d(?:[\s().-]*\d){8,}")
# Ofcom's numbers for drama, with or without +44, and North America's 555-01xx.
RESERVED_NUMBER = re.compile(r"(?:0|44)(?:7700900\d{3}|2079460\d{3}|1632960\d{3})|1?\d{3}55501\d{2}")


def read(name: str) -> tuple[list[str], list[int]]:
    """(texts, labels) of a file; label 1 is spam."""
    file = load_texts(Source(str(FOLDER / name)), TextRule())
    assert file.label_names == ["ham", "spam"]
    return file.texts, file.labels


@pytest.fixture(scope="module")
def messages() -> tuple[list[str], list[int]]:
    return read("messages.tsv")


@pytest.fixture(scope="module")
def typed() -> tuple[list[str], list[int]]:
    return read("typed.tsv")


@pytest.fixture(scope="module")
def texts(messages, typed) -> list[str]:
    return messages[0] + typed[0]


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def right(rule, messages: tuple[list[str], list[int]]) -> float:
    """Accuracy of "spam where the rule says so"."""
    return sum(bool(rule(text)) == label for text, label in zip(*messages)) / len(messages[0])


def always_ham(messages) -> float:
    return right(lambda text: False, messages)


def test_there_are_at_least_6000_messages_and_three_in_ten_are_spam(messages):
    _, labels = messages
    assert len(labels) >= 6000
    assert 0.28 <= sum(labels) / len(labels) <= 0.32


def test_typed_is_200_messages_half_of_them_spam_and_both_halves_equally_long(typed):
    texts, labels = typed
    assert (len(labels), sum(labels)) == (200, 100)
    lengths = [sorted(len(text.split()) for text, label in zip(texts, labels) if label == which) for which in (0, 1)]
    assert all(each[0] >= 2 and each[-1] <= 25 for each in lengths)
    assert abs(sum(lengths[0]) - sum(lengths[1])) <= 0.05 * sum(lengths[0])


def test_no_message_is_there_twice(texts):
    assert len(set(texts)) == len(texts)


def test_no_two_messages_share_seven_tenths_of_their_words(messages):
    groups = near_duplicate_groups(messages[0])
    assert not [[messages[0][row] for row in group] for group in groups if len(group) > 1]


def test_no_message_shares_half_of_its_words_with_a_typed_one(messages, typed):
    bags = [frozenset(words(text)) for text in typed[0]]
    for text in messages[0]:
        bag = frozenset(words(text))
        near = [other for other, its in zip(typed[0], bags) if 2 * len(bag & its) >= len(bag | its) > 0]
        assert not near, f"{text!r} and the typed {near[0]!r}"


def test_no_six_words_in_a_row_stand_in_more_than_three_messages(messages):
    rows_with = defaultdict(set)
    for row, text in enumerate(messages[0]):
        each = words(text)
        for at in range(len(each) - 5):
            rows_with[" ".join(each[at : at + 6])].add(row)
    often = {run: len(rows) for run, rows in rows_with.items() if len(rows) > 3}
    assert not often


def test_every_link_and_address_is_on_a_name_reserved_for_examples(texts):
    hosts = [(host, text) for text in texts for host in LINK.findall(text)]
    assert len(hosts) >= 20
    for host, text in hosts:
        assert RESERVED_HOST.fullmatch(host), f"{host} in {text!r}"


def test_every_telephone_number_is_reserved_for_fiction(texts):
    numbers = [(re.sub(r"\D", "", match), text) for text in texts for match in NUMBER.findall(text)]
    assert len(numbers) >= 20
    for number, text in numbers:
        assert RESERVED_NUMBER.fullmatch(number), f"{number} in {text!r}"


@pytest.mark.parametrize(
    "shortcut",
    [r"\d", r"\d{4,}", r"£|\$|€", LINK.pattern, r"!", r"\b[A-Z]{3,}\b", r"(?i)\b(?:free|win|won|prize|urgent|claim)\b"],
    ids=["digit", "4 digits", "money", "link", "shout", "capitals", "spam's words"],
)
def test_no_single_pattern_is_five_points_better_than_always_ham(messages, shortcut):
    assert right(re.compile(shortcut).search, messages) <= always_ham(messages) + 0.05


@pytest.mark.parametrize("length", [len, lambda text: len(text.split())], ids=["characters", "words"])
def test_length_alone_is_hardly_better_than_always_ham(messages, length):
    rules = [lambda text, limit=limit: length(text) >= limit for limit in range(1, 300, 3)]
    best = max(max(share, 1 - share) for share in (right(rule, messages) for rule in rules))
    assert best <= always_ham(messages) + 0.05


@pytest.mark.parametrize("fewest, most", [(1, 2), (3, 4), (5, 9), (10, 15), (16, 25), (26, 80)])
def test_there_is_spam_and_ham_of_every_length(messages, fewest, most):
    labels = [label for text, label in zip(*messages) if fewest <= len(text.split()) <= most]
    assert len(labels) >= 70
    assert 0.15 <= sum(labels) / len(labels) <= 0.5

"""The bundled messages: enough of them, no two alike, harmless addresses and numbers, no pattern that gives them away.

In messages.tsv spam is longer than ham, as in many real collections; harder.tsv is short spam and long ham, and with
both together length tells next to nothing.
"""

import re
from collections import defaultdict
from pathlib import Path

import pytest

from data import Source, TextRule, load_texts

FOLDER = Path(__file__).resolve().parents[2] / "data" / "messages"
LINK = re.compile(r"(?:https?://)?((?:[\w-]+\.)+[a-z]{2,})", re.IGNORECASE)
RESERVED_HOST = re.compile(r"(?:.*\.)?(?:example\.(?:com|net|org)|[\w-]+\.(?:example|test|invalid))", re.IGNORECASE)
NUMBER = re.compile(r"\+?\d(?:[\s().-]*\d){8,}")
# Ofcom's numbers for drama, with or without +44, and North America's 555-01xx.
RESERVED_NUMBER = re.compile(r"(?:0|44)(?:7700900\d{3}|2079460\d{3}|1632960\d{3})|1?\d{3}55501\d{2}")


def read(*names: str) -> tuple[list[str], list[int]]:
    """(texts, labels) of some of the files; label 1 is spam."""
    files = [load_texts(Source(str(FOLDER / name)), TextRule()) for name in names]
    assert all(file.label_names == ["ham", "spam"] for file in files)
    return [text for file in files for text in file.texts], [label for file in files for label in file.labels]


@pytest.fixture(scope="module")
def messages() -> tuple[list[str], list[int]]:
    return read("messages.tsv")


@pytest.fixture(scope="module")
def both() -> tuple[list[str], list[int]]:
    return read("messages.tsv", "harder.tsv")


@pytest.fixture(scope="module")
def texts(both) -> list[str]:
    return both[0]


def test_there_are_at_least_1200_messages_and_about_a_fifth_is_spam(messages):
    _, labels = messages
    assert len(labels) >= 1200
    assert 0.15 <= sum(labels) / len(labels) <= 0.25


def test_no_message_is_there_twice(texts):
    assert len(set(texts)) == len(texts)


def test_no_two_messages_share_seven_tenths_of_their_words(texts):
    bags = [frozenset(re.findall(r"\w+", text.lower())) for text in texts]
    rows_with = defaultdict(list)
    for row, bag in enumerate(bags):
        common = defaultdict(int)
        for word in bag:
            for other in rows_with[word]:
                common[other] += 1
            rows_with[word].append(row)
        for other, count in common.items():
            alike = count / len(bag | bags[other])
            assert alike < 0.7, f"{texts[row]!r} and {texts[other]!r}"


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
    [r"\d{4,}", r"\d{5,}", r"£|\$|€", r"www|http|\.(?:example|test)\b", r"!", r"\b[A-Z]{3,}\b"],
    ids=["4 digits", "5 digits", "money", "link", "shout", "capitals"],
)
@pytest.mark.parametrize("name", ["messages.tsv", "harder.tsv"])
def test_no_single_pattern_tells_spam_from_ham(name, shortcut):
    texts, labels = read(name)
    says_spam = [bool(re.search(shortcut, text)) for text in texts]
    right = sum(said == label for said, label in zip(says_spam, labels))
    assert right / len(labels) < 0.90


def test_length_tells_much_in_the_first_file_and_little_in_both_together(messages, both):
    def best_length(texts: list[str], labels: list[int]) -> float:
        """Accuracy of the best rule of the form "spam from so many characters on", or up to so many."""
        rules = ([len(text) >= limit for text in texts] for limit in range(1, 400))
        right = [sum(said == label for said, label in zip(rule, labels)) / len(labels) for rule in rules]
        return max(*right, *(1 - share for share in right))

    majority = 1 - sum(both[1]) / len(both[1])
    assert 0.90 < best_length(*messages) < 0.97
    assert best_length(*both) < majority + 0.03


@pytest.mark.parametrize("shortest, longest", [(1, 39), (40, 59), (60, 79), (80, 109), (110, 149), (150, 400)])
def test_both_together_have_spam_and_ham_of_every_length(both, shortest, longest):
    labels = [label for text, label in zip(*both) if shortest <= len(text) <= longest]
    assert len(labels) >= 50
    assert 0.08 <= sum(labels) / len(labels) <= 0.60

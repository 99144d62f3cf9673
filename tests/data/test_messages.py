"""The bundled messages: enough of them, no two alike, harmless addresses and numbers, and no shortcut to the label."""

import re
from collections import defaultdict
from pathlib import Path

import pytest

from data import Source, TextRule, load_texts

FILE = Path(__file__).resolve().parents[2] / "data" / "messages" / "messages.tsv"
LINK = re.compile(r"(?:https?://)?((?:[\w-]+\.)+[a-z]{2,})", re.IGNORECASE)
RESERVED_HOST = re.compile(r"(?:.*\.)?(?:example\.(?:com|net|org)|[\w-]+\.(?:example|test|invalid))", re.IGNORECASE)
NUMBER = re.compile(r"\+?\d(?:[\s().-]*\d){8,}")
# Ofcom's numbers for drama, with or without +44, and North America's 555-01xx.
RESERVED_NUMBER = re.compile(r"(?:0|44)(?:7700900\d{3}|2079460\d{3}|1632960\d{3})|1?\d{3}55501\d{2}")


@pytest.fixture(scope="module")
def messages():
    return load_texts(Source(str(FILE)), TextRule())


def test_there_are_at_least_1200_messages_and_about_a_fifth_is_spam(messages):
    assert messages.label_names == ["ham", "spam"]
    assert len(messages.texts) >= 1200
    assert 0.15 <= sum(messages.labels) / len(messages.labels) <= 0.25


def test_no_message_is_there_twice(messages):
    assert len(set(messages.texts)) == len(messages.texts)


def test_no_two_messages_share_seven_tenths_of_their_words(messages):
    bags = [frozenset(re.findall(r"\w+", text.lower())) for text in messages.texts]
    rows_with = defaultdict(list)
    for row, bag in enumerate(bags):
        common = defaultdict(int)
        for word in bag:
            for other in rows_with[word]:
                common[other] += 1
            rows_with[word].append(row)
        for other, count in common.items():
            alike = count / len(bag | bags[other])
            assert alike < 0.7, f"{messages.texts[row]!r} and {messages.texts[other]!r}"


def test_every_link_and_address_is_on_a_name_reserved_for_examples(messages):
    hosts = [(host, text) for text in messages.texts for host in LINK.findall(text)]
    assert len(hosts) >= 20
    for host, text in hosts:
        assert RESERVED_HOST.fullmatch(host), f"{host} in {text!r}"


def test_every_telephone_number_is_reserved_for_fiction(messages):
    numbers = [(re.sub(r"\D", "", match), text) for text in messages.texts for match in NUMBER.findall(text)]
    assert len(numbers) >= 20
    for number, text in numbers:
        assert RESERVED_NUMBER.fullmatch(number), f"{number} in {text!r}"


@pytest.mark.parametrize(
    "shortcut",
    [r"\d{4,}", r"\d{5,}", r"£|\$|€", r"www|http|\.(?:example|test)\b", r"!", r"\b[A-Z]{3,}\b"],
    ids=["4 digits", "5 digits", "money", "link", "shout", "capitals"],
)
def test_no_single_pattern_tells_spam_from_ham(messages, shortcut):
    says_spam = [bool(re.search(shortcut, text)) for text in messages.texts]
    right = sum(said == label for said, label in zip(says_spam, messages.labels))
    assert right / len(messages.labels) < 0.90


@pytest.mark.parametrize("length_of", [len, lambda text: len(text.split())], ids=["characters", "words"])
def test_no_length_from_which_on_all_is_spam_or_all_is_ham(messages, length_of):
    lengths = [length_of(text) for text in messages.texts]
    for limit in set(lengths):
        right = sum((length >= limit) == label for length, label in zip(lengths, messages.labels)) / len(lengths)
        assert max(right, 1 - right) < 0.87, f"length {limit} divides spam from ham"


@pytest.mark.parametrize(
    "shortest, longest", [(1, 39), (40, 59), (60, 79), (80, 109), (110, 149), (150, 199), (200, 320)]
)
def test_there_is_spam_and_ham_of_every_length(messages, shortest, longest):
    labels = [label for text, label in zip(messages.texts, messages.labels) if shortest <= len(text) <= longest]
    assert len(labels) >= 50
    assert 0.08 <= sum(labels) / len(labels) <= 0.60

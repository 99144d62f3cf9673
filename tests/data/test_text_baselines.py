"""What texts cost without a language model: the bits and nats that a fine-tuned model has to beat."""

import gzip
import math
import random
from array import array

import pytest

from data import Window, bigram_nats, gzip_bits_per_byte

hypothesis = pytest.importorskip("hypothesis", reason="pip install -r requirements-dev.txt to run these tests")
given, settings, st = hypothesis.given, hypothesis.settings, hypothesis.strategies


def window(*ids: int, first_target: int = 1) -> Window:
    return Window(array("i", ids), first_target, 0)


def by_hand(train: list[Window], test: list[Window], vocab_size: int) -> float:
    """The formulas of Witten and Bell, one target at a time."""
    pairs = [(w.ids[t - 1], w.ids[t]) for w in train for t in range(w.first_target, len(w.ids))]
    tokens, nats = [b for _, b in pairs], 0.0
    for w in test:
        for t in range(w.first_target, len(w.ids)):
            a, b = w.ids[t - 1], w.ids[t]
            after = [d for c, d in pairs if c == a]
            p = (tokens.count(b) + len(set(tokens)) / vocab_size) / (len(tokens) + len(set(tokens)))
            if after:
                p = (after.count(b) + len(set(after)) * p) / (len(after) + len(set(after)))
            nats -= math.log(p)
    return nats


def test_the_bigram_model_agrees_with_a_calculation_by_hand():
    train, test = [window(0, 1, 2, 1, 2, 0)], [window(0, 1, 3)]
    p_1, p_3 = (2 + 3 / 4) / (5 + 3), (0 + 3 / 4) / (5 + 3)  # of five targets 1, 2, 1, 2, 0, three different
    after_0 = (1 + 1 * p_1) / (1 + 1)  # seen: 0 1
    after_1 = (0 + 1 * p_3) / (2 + 1)  # seen: 1 2, twice
    assert bigram_nats(train, test, 4) == pytest.approx(-math.log(after_0) - math.log(after_1), rel=1e-12)


@st.composite
def parts(draw):
    windows = []
    for _ in range(2):
        rows = draw(st.lists(st.lists(st.integers(0, 9), min_size=2, max_size=12), min_size=1, max_size=5))
        windows.append([window(*row, first_target=draw(st.integers(1, len(row) - 1))) for row in rows])
    return windows


@settings(deadline=None)
@given(parts())
def test_the_bigram_model_is_witten_and_bell_s_over_exactly_the_targets(windows):
    assert bigram_nats(*windows, 10) == pytest.approx(by_hand(*windows, 10), rel=1e-12)


def test_the_chances_of_all_tokens_after_any_token_sum_to_one():
    train = [window(*random.Random(0).choices(range(12), k=60))]
    for a in range(15):  # 12, 13 and 14 never occur
        chances = [math.exp(-bigram_nats(train, [window(a, b)], 15)) for b in range(15)]
        assert min(chances) > 0 and sum(chances) == pytest.approx(1, rel=1e-12)


def test_prompts_are_neither_counted_nor_foretold():
    train, test = [window(0, 1, 2, 3, first_target=3)], [window(0, 1, 2, 3, first_target=3)]
    assert bigram_nats(train, test, 4) == bigram_nats([window(2, 3)], [window(2, 3)], 4)


def test_a_vocabulary_as_large_as_gpt2_s_takes_no_table_of_all_pairs():
    train, test = [window(50256, 50255, 50256)], [window(50256, 50255, 50256)]
    assert bigram_nats(train, test, 50257) == pytest.approx(by_hand(train, test, 50257), rel=1e-12)


def test_gzip_costs_what_the_file_would_without_header_and_checksum():
    words = [f"{a}{b}{c}" for a in "bdfgk" for b in "aeiou" for c in ("ll", "nt", "rd")]
    texts = [*(" ".join(random.Random(i).choices(words, k=30)) for i in range(40)), "日本 🙂"]
    packed = len(gzip.compress("\n".join(texts).encode(), 9)) - 18
    assert gzip_bits_per_byte(texts) == 8 * packed / sum(len(text.encode()) for text in texts)


def test_gzip_remembers_earlier_texts_and_pays_for_noise():
    noise = "".join(random.Random(0).choices("0123456789abcdef", k=4000))
    assert 4 <= gzip_bits_per_byte([noise]) < 5  # four bits are in each digit
    assert gzip_bits_per_byte([noise, noise]) < 0.6 * gzip_bits_per_byte([noise])

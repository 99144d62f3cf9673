"""Of a long text only a head is tokenised: the ids that are kept are those of the whole text all the same."""

import random
import time

import pytest

import gpt2
from data import batches, encode
from tests.conftest import ROOT
from tests.strangers.fuzzing import examples, hypothesis

given, st = hypothesis.given, hypothesis.strategies
pytestmark = pytest.mark.promise("P11")

BUNDLED = gpt2.Tokenizer(ROOT / "assets" / "gpt2-tiny")
WORDS = st.sampled_from(
    [
        "see",
        " congratulations",
        " tomorrow",
        " 12345678",
        " information",
        " you",
        "'s",
        "don't",
        "2024",
        "!!",
        "...",
        "é",
        "😀",
        "\n",
        "  ",
        "\t",
        "\x1c",
        "\u00a0",
        "\u3000",
        "a" * 40,
    ]
)
TEXTS = st.lists(WORDS | st.text(max_size=4), max_size=400).map("".join) | st.text(min_size=100, max_size=2000)


def whole(tokenizer, texts, max_length):
    rows = tokenizer.encode_batch(texts)
    return [row[:max_length] for row in rows], sum(len(row) > max_length for row in rows)


@pytest.mark.parametrize("name", ["the bundled one", "GPT-2's"])
def test_a_texts_first_tokens_and_whether_it_was_cut_are_those_of_the_whole_text(request, name, monkeypatch):
    """With short heads, of which the last token is kept: where a word ends is enough, with no token to spare."""
    monkeypatch.setattr(batches, "_PER_TOKEN", 2)
    monkeypatch.setattr(batches, "_SPARE_TOKENS", 1)
    tokenizer = BUNDLED if name[0] == "t" else gpt2.Tokenizer(request.getfixturevalue("gpt2_tokenizer_dir"))

    @examples()
    @given(texts=st.lists(TEXTS, min_size=1, max_size=3), max_length=st.integers(1, 20))
    def check(texts, max_length):
        texts = [text.encode(errors="ignore").decode() for text in texts]
        ids, cut = encode(tokenizer, texts, max_length)
        assert ([list(row) for row in ids], cut) == whole(tokenizer, texts, max_length)

    check()


@pytest.mark.parametrize(
    "letters", ["a", "ab", "-=", "etaoin", "abcdefghijklmnopqrstuvwxyz", "0123456789", "é😀ß", " "]
)
@pytest.mark.parametrize("name", ["the bundled one", "GPT-2's"])
def test_a_word_without_an_end_gives_the_tokens_that_it_gives_as_a_whole(request, letters, name):
    tokenizer = BUNDLED if name[0] == "t" else gpt2.Tokenizer(request.getfixturevalue("gpt2_tokenizer_dir"))
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    word = "".join(random.Random(seed).choices(letters, k=200_000))
    ids, cut = encode(tokenizer, [word], 1024)
    assert ([list(row) for row in ids], cut) == whole(tokenizer, [word], 1024)


def test_the_time_for_a_text_goes_with_what_is_kept_of_it(gpt2_tokenizer_dir):
    tokenizer = gpt2.Tokenizer(gpt2_tokenizer_dir)
    for text in ("see you at nine " * 500_000, "x" * 8_000_000, "-" * 8_000_000):
        start = time.process_time()
        assert encode(tokenizer, [text], 1024)[1] == 1
        assert time.process_time() - start < 2

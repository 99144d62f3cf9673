"""Text to ids and back: nothing is lost, nothing in a text is special, and damaged files are refused by name."""

import json
import random
import shutil

import pytest
import tokenizers

import gpt2

ODD = [
    "",
    " ",
    "  two  spaces  ",
    "\n\n\ttabs\r\nand returns\r",
    "naïve café ÅÄÖ ß",
    "e\u0301 is not \u00e9",
    "日本語テキスト 한국어 العربية עברית",
    "👩‍👩‍👧‍👦 🏴‍☠️ 😀",
    "\u200b\u200d\ufeff\u00a0\u2028",
    "\x00\x01\x7f\x80",
    "Ġ Ċ byte-level letters themselves",
    "it's we'll I'VE '",
    "£1,000!!! call 0800-123-456 now>>>",
    "\U0010ffff\ufffd",
    "a" * 500,
]


@pytest.fixture(scope="module")
def tokenizer(tiny_base):
    return gpt2.Tokenizer.from_pretrained(tiny_base)


@pytest.fixture
def files(tiny_base, tmp_path):
    """A directory with copies of the two files, to be damaged."""
    for name in ("vocab.json", "merges.txt", "config.json"):
        shutil.copyfile(tiny_base / name, tmp_path / name)
    return tmp_path


def refused(directory):
    with pytest.raises(gpt2.CheckpointError) as caught:
        gpt2.Tokenizer.from_pretrained(directory)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("text", ODD)
def test_odd_text_comes_back_unchanged(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_random_unicode_comes_back_unchanged_and_equals_the_librarys_tokenizer(tokenizer, tiny_base):
    draw = random.Random(0)
    reference = tokenizers.ByteLevelBPETokenizer(str(tiny_base / "vocab.json"), str(tiny_base / "merges.txt"))
    for _ in range(300):
        ranges = draw.choice([(0x20, 0x7F), (0, 0x250), (0x3000, 0xD7FF), (0x1F300, 0x1FAFF)])
        text = "".join(chr(draw.randint(*ranges)) for _ in range(draw.randint(0, 40)))
        assert tokenizer.encode(text) == reference.encode(text).ids
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_messages_get_the_librarys_ids(tokenizer, tiny_base, messages):
    reference = tokenizers.ByteLevelBPETokenizer(str(tiny_base / "vocab.json"), str(tiny_base / "merges.txt"))
    for text in [text for _, text in messages] + ODD:
        assert tokenizer.encode(text) == reference.encode(text).ids


def test_a_batch_gives_what_one_by_one_gives(tokenizer):
    assert tokenizer.encode_batch(ODD) == [tokenizer.encode(text) for text in ODD]
    assert tokenizer.encode_batch([]) == []


def test_merges_are_used(tokenizer, messages):
    text = messages[0][1]
    assert len(tokenizer.encode(text)) < len(text.encode())


@pytest.mark.parametrize("text", ["<|endoftext|>", "free <|endoftext|><|endoftext|> entry"])
def test_the_end_of_text_mark_inside_a_text_is_ordinary_text(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.eos_token_id not in ids
    assert tokenizer.eos_token_id not in tokenizer.encode_batch([text])[0]
    assert tokenizer.decode(ids) == text


def test_the_end_token_itself_is_decoded_as_its_mark(tokenizer):
    assert tokenizer.decode([tokenizer.eos_token_id]) == "<|endoftext|>"


def test_a_space_in_front_is_not_added(tokenizer):
    assert tokenizer.encode("free") != tokenizer.encode(" free")


def test_the_vocabulary_fits_the_model(tokenizer, tiny_base):
    assert tokenizer.vocab_size == gpt2.read_config(tiny_base).vocab_size


def test_saved_files_give_the_same_ids(tokenizer, tmp_path, messages):
    tokenizer.save_pretrained(tmp_path)
    again = gpt2.Tokenizer(tmp_path)
    assert again.encode_batch([t for _, t in messages]) == tokenizer.encode_batch([t for _, t in messages])


@pytest.mark.parametrize("name", ["vocab.json", "merges.txt"])
def test_a_missing_file_is_named(files, name):
    (files / name).unlink()
    assert str(files / name) in refused(files)


def test_a_gap_in_the_vocabulary_is_refused(files):
    vocab = json.loads((files / "vocab.json").read_text(encoding="utf-8"))
    last = max(vocab, key=vocab.get)
    (files / "vocab.json").write_text(json.dumps(vocab | {last: len(vocab) + 3}), encoding="utf-8")
    message = refused(files)
    assert str(files / "vocab.json") in message and "gaps" in message


@pytest.mark.parametrize("text", ["{", "[1, 2]", '{"a": 0, "b": 0}', '{"a": "0"}', '{"a": null}'])
def test_a_vocabulary_that_is_none_is_refused(files, text):
    (files / "vocab.json").write_text(text, encoding="utf-8")
    assert str(files / "vocab.json") in refused(files)


def test_a_merge_of_three_columns_is_refused_with_its_line(files):
    lines = (files / "merges.txt").read_text(encoding="utf-8").split("\n")
    lines[4] = "a b c"
    (files / "merges.txt").write_text("\n".join(lines), encoding="utf-8")
    assert f"{files / 'merges.txt'}:5" in refused(files)


def test_a_merge_of_unknown_tokens_is_refused(files):
    with (files / "merges.txt").open("a", encoding="utf-8") as file:
        file.write("zq qz\n")
    message = refused(files)
    assert str(files / "merges.txt") in message and "vocab.json" in message


def test_windows_line_ends_change_nothing(files, tokenizer, messages):
    text = (files / "merges.txt").read_text(encoding="utf-8")
    (files / "merges.txt").write_bytes(text.replace("\n", "\r\n").encode())
    again = gpt2.Tokenizer.from_pretrained(files)
    assert again.encode_batch([t for _, t in messages]) == tokenizer.encode_batch([t for _, t in messages])


def test_a_tokenizer_json_beside_the_files_is_not_read(files, tokenizer):
    (files / "tokenizer.json").write_text("{ not even json")
    assert gpt2.Tokenizer.from_pretrained(files).encode("free entry") == tokenizer.encode("free entry")


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("Free entry!", [11146, 5726, 0]),
        ("Hello world", [15496, 995]),
        (" Hello", [18435]),
        ("<|endoftext|>", [27, 91, 437, 1659, 5239, 91, 29]),
    ],
)
def test_gpt2s_own_files_give_gpt2s_ids(gpt2_tokenizer_dir, text, ids):
    tokenizer = gpt2.Tokenizer(gpt2_tokenizer_dir)
    assert tokenizer.vocab_size == 50257 and tokenizer.eos_token_id == 50256
    assert tokenizer.encode(text) == ids
    assert tokenizer.decode(ids) == text


def test_gpt2s_own_files_round_trip_odd_text(gpt2_tokenizer_dir):
    tokenizer = gpt2.Tokenizer(gpt2_tokenizer_dir)
    assert [tokenizer.decode(ids) for ids in tokenizer.encode_batch(ODD)] == ODD


@pytest.mark.parametrize("text", ODD)
def test_the_bytes_of_the_tokens_are_those_of_the_text(tokenizer, text):
    assert b"".join(map(tokenizer.token_bytes, tokenizer.encode(text))) == text.encode()


def test_an_id_without_a_token_has_no_bytes(tokenizer):
    with pytest.raises(ValueError, match=f"there is no token {tokenizer.vocab_size}"):
        tokenizer.token_bytes(tokenizer.vocab_size)

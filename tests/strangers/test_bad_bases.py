"""Models and tokenizers that are not what they should be, met where a run starts: one line, and nothing is written."""

import json
import os

import pytest
import torch

import gpt2
from tests.strangers.spoiling import content, entry, fields, header, nested, raw, split, tensors, without

pytestmark = pytest.mark.promise("P16")

MODEL, CONFIG, VOCAB, MERGES = "model.safetensors", "config.json", "vocab.json", "merges.txt"
C_ATTN, WTE = "transformer.h.1.attn.c_attn.weight", "transformer.wte.weight"


def piped(file):
    def spoil(directory):
        (directory / file).unlink()
        os.mkfifo(directory / file)

    return spoil


def with_ids(change):
    """vocab.json with the ids that `change` makes of (token, id, how many there are)."""

    def spoil(directory):
        vocab = json.loads((directory / VOCAB).read_text(encoding="utf-8"))
        changed = {token: change(token, number, len(vocab)) for token, number in vocab.items()}
        (directory / VOCAB).write_text(json.dumps(changed), encoding="utf-8")

    return spoil


def more_tokens(directory):
    vocab = json.loads((directory / VOCAB).read_text(encoding="utf-8"))
    (directory / VOCAB).write_text(json.dumps(vocab | {f"more {i}": len(vocab) + i for i in range(9)}))


def no_byte(directory):
    """The letter x goes, and the last token takes its id."""
    vocab = json.loads((directory / VOCAB).read_text(encoding="utf-8"))
    last = max(vocab, key=vocab.get)
    vocab[last] = vocab.pop("x")
    (directory / VOCAB).write_text(json.dumps(vocab))


def half_a_character(directory):
    """The last token is half of a surrogate pair, which JSON can hold and UTF-8 cannot."""
    vocab = json.loads((directory / VOCAB).read_text(encoding="utf-8"))
    vocab["\ud800"] = vocab.pop(max(vocab, key=vocab.get))
    (directory / VOCAB).write_text(json.dumps(vocab))


def tokenizer_json_alone(directory):
    for file in (VOCAB, MERGES):
        (directory / file).unlink()
    (directory / "tokenizer.json").write_text("{}")


def twice(directory):
    header(MODEL, lambda h: json.dumps(h)[:-1] + f', "{C_ATTN}": {json.dumps(h[C_ATTN])}}}')(directory)


def blocks_of_nothing(directory):
    """So many names of blocks as a header has room for, and a config that claims as many."""
    more = {f"h.{i}.x": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(12_000)}
    header(MODEL, lambda h: json.dumps(h | more, separators=(",", ":")))(directory)
    fields(CONFIG, n_layer=12_000)(directory)


def converted(dtype):
    return tensors(MODEL, lambda found: found | {C_ATTN: found[C_ATTN].to(dtype)})


WRONG_NUMBERS = [("n_layer", -1), ("n_embd", 0), ("n_layer", "2"), ("n_positions", 64.0), ("vocab_size", True)]
WRONG_NUMBERS += [("n_head", None), ("n_inner", True), ("eos_token_id", "x"), ("attn_pdrop", True), ("attn_pdrop", 1)]
SPOILT = {
    # 55 - 58: the weights
    "a tensor missing": (tensors(MODEL, lambda t: {k: v for k, v in t.items() if k != C_ATTN}), f"missing: {C_ATTN}"),
    "a tensor too many": (tensors(MODEL, lambda t: t | {"h.\n9.x": torch.ones(1)}), "not part of this model: h.\\n9.x"),
    "another shape": (tensors(MODEL, lambda t: t | {C_ATTN: t[C_ATTN].T}), f"{C_ATTN} is (96, 32), expected (32, 96)"),
    "float64": (converted(torch.float64), f"{C_ATTN} is F64, not F16, BF16, F32"),
    "whole numbers": (converted(torch.int64), f"{C_ATTN} is I64"),
    "float8": (converted(torch.float8_e4m3fn), f"{C_ATTN} is F8_E4M3"),
    "NaN": (tensors(MODEL, lambda t: t | {C_ATTN: t[C_ATTN] / 0}), f"{C_ATTN} holds NaN or infinite values"),
    # 59: config.json
    "heads that do not divide": (fields(CONFIG, n_head=3), "n_head=3 does not divide n_embd=32"),
    "10**9 blocks": (fields(CONFIG, n_layer=10**9), "holds 2 blocks, but config.json says n_layer=1000000000"),
    "10**9 wide": (fields(CONFIG, n_embd=10**9), "wte.weight is (300, 32), expected (300, 1000000000)"),
    "10**9 wide within": (fields(CONFIG, n_inner=10**9), "c_fc.bias is (128,), expected (1000000000,)"),
    "10**18 positions": (
        fields(CONFIG, n_positions=10**18),
        "wpe.weight is (64, 32), expected (1000000000000000000, 32)",
    ),
    "10**9 words": (fields(CONFIG, vocab_size=10**9), "wte.weight is (300, 32), expected (1000000000, 32)"),
    "12,000 blocks of nothing": (blocks_of_nothing, "blocks, but config.json says n_layer=12000"),
    **{f"{name} is {value!r}": (fields(CONFIG, **{name: value}), name) for name, value in WRONG_NUMBERS},
    "epsilon is NaN": (fields(CONFIG, layer_norm_epsilon=float("nan")), "NaN is no number in JSON"),
    "10**9 labels": (fields(CONFIG, id2label=None, num_labels=10**9), "num_labels is 1000000000; 20,000 are the most"),
    "labels of 5,000 digits": (fields(CONFIG, id2label={"1" * 5000: "x"}), "id2label must map 0, 1, 2"),
    "deep JSON": (content(CONFIG, b'{"n_head":' + b"[" * 200_000), "config.json: cannot be read as JSON"),
    **{f"{n} deep": (fields(CONFIG, n_head=nested(n)), "nested too deeply") for n in (50, 300, 900)},
    "a key twice": (raw(CONFIG, ('"n_head": 2', '"n_head": 2, "n_head": 4')), "'n_head' is there twice"),
    "an array": (content(CONFIG, b"[]"), "it holds no JSON object"),
    "50 MB": (content(CONFIG, b" " * 50_000_000), "larger than 4,194,304 bytes"),
    "another model": (fields(CONFIG, model_type="x\n" * 9000), "model_type is 'x\\nx"),
    # 60: vocab.json
    "ids with a gap": (with_ids(lambda token, n, size: n + (n == size - 1)), "without gaps"),
    "an id twice": (with_ids(lambda token, n, size: max(n, 1)), "without gaps"),
    "an id below 0": (with_ids(lambda token, n, size: n or -1), "without gaps"),
    "ids that are true": (with_ids(lambda token, n, size: True if n == 1 else n), "without gaps"),
    "ids with a point": (with_ids(lambda token, n, size: float(n)), "without gaps"),
    "more tokens than embedded": (more_tokens, "has 309 tokens, the model embeds 300"),
    "a byte without a token": (no_byte, "lacks tokens for 1 of the 256 bytes, 'x' the first of them"),
    "a token twice": (raw(VOCAB, ("{", '{"x": 0, "x": 1, ')), "is there twice"),
    "half a character": (half_a_character, "merges.txt: does not fit vocab.json"),
    "a vocabulary of 50 MB": (content(VOCAB, b" " * 50_000_000), "vocab.json: cannot be read as JSON (it is larger"),
    "a vocabulary from a pipe": (piped(VOCAB), "vocab.json: cannot be read as JSON (it is no regular file"),
    # 61, 62: merges.txt
    "a merge of strangers": (content(MERGES, b"zq qz\n"), "merges.txt: does not fit vocab.json"),
    "three columns": (content(MERGES, b"#version: 0.2\na b c\n"), "merges.txt:2: a merge is two tokens"),
    "more merges than tokens": (
        content(MERGES, b"a b\n" * 301),
        "merges.txt:301: more merges than vocab.json",
    ),
    "merges that are no text": (content(MERGES, b"\xff\xfe"), "merges.txt: cannot be read as UTF-8"),
    "tokenizer.json alone": (tokenizer_json_alone, "the tokenizer needs vocab.json and merges.txt"),
    # the file itself
    "a pickle renamed": (
        content(MODEL, b"\x80\x04\x95\x0f\0\0\0\0\0\0\0cos\nsystem\n."),
        "pickle or a zip file under another",
    ),
    "a zip renamed": (content(MODEL, b"PK\x03\x04" + bytes(99)), "pickle or a zip file under another"),
    "pickle alone": (lambda d: (d / MODEL).rename(d / "pytorch_model.bin"), "no .bin: pickle can run code"),
    "no weights": (without(MODEL), "model.safetensors: not found"),
    "weights from a pipe": (piped(MODEL), "model.safetensors: not found"),
    "a tensor twice": (twice, "is there twice"),
    "a header of 2**62": (header(MODEL, length=2**62), "claims a header of"),
    "a shape of 2**40": (entry(MODEL, C_ATTN, shape=[2**40]), "not a whole safetensors file"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_spoilt_base_is_refused_before_a_run_begins(base, trains, refused, name):
    spoil, words = SPOILT[name]
    spoil(base)
    message = refused(trains(base), silent=False)
    assert words in message and str(base) in message
    assert len(message) < 1000


def test_a_whole_model_that_claims_a_thousand_million_labels_is_refused_before_a_head_is_drawn(base, asks, refused):
    for claimed in (20_000, 10**9):
        fields("config.json", id2label=None, num_labels=claimed)(base)
        assert "no classification head" in refused(asks(base))
    tensors(MODEL, lambda found: found | {"score.weight": torch.ones(2, 32)})(base)
    assert "num_labels is 1000000000" in refused(asks(base))


def test_a_panic_of_the_tokenizers_library_is_an_error_like_others(base, trains, refused, monkeypatch):
    class PanicException(BaseException):
        """As pyo3 raises it: no Exception, so that `except Exception` lets it through."""

    class Panics:
        def __getattr__(self, name):
            raise PanicException("index out of bounds\nnote: run with RUST_BACKTRACE=1")

    tokenizer = gpt2.Tokenizer.from_pretrained(base)
    tokenizer._bpe = Panics()
    for call in (tokenizer.encode, tokenizer.decode, lambda text: tokenizer.encode_batch([text])):
        with pytest.raises(gpt2.CheckpointError, match="the tokenizers library cannot work with"):
            call("x")
    monkeypatch.setattr("tokenizers.models.BPE", lambda **files: Panics().anything)
    assert "the tokenizers library cannot work with its vocab.json and merges.txt" in refused(
        trains(base), silent=False
    )


def test_a_vocabulary_smaller_than_the_embedding_is_no_harm(base, trains, tiny_base):
    def wider(found):
        return found | {WTE: torch.cat([found[WTE], torch.zeros(4, 32)])}

    tensors(MODEL, wider)(base)
    fields(CONFIG, vocab_size=304)(base)
    assert gpt2.Tokenizer.from_pretrained(base).encode("free") == gpt2.Tokenizer(tiny_base).encode("free")
    trains(base)()


def test_the_copies_that_are_spoilt_were_good(base, trains):
    assert split(base / MODEL)[0][C_ATTN]["shape"] == [32, 96]
    trains(base)()

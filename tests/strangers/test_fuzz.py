"""Invented files: whatever an adapter or a tokenizer holds, it is loaded in full or refused in one line."""

import json
import struct

import pytest

import gpt2
import lora
from tests.strangers.fuzzing import examples, hypothesis, only
from tests.strangers.spoiling import ADAPTER, CONFIG, join, split

given, st = hypothesis.given, hypothesis.strategies
pytestmark = [pytest.mark.promise("P10"), pytest.mark.promise("P12")]

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)
SIZES = st.sampled_from([0, 1, 2, 4, 32, 96, -1, 2**31, 2**40, 2**62, 2**63, 2**64, 10**30]) | st.integers()
DTYPES = ["F32", "F16", "BF16", "F64", "I64", "I8", "U8", "BOOL", "F8_E4M3", "F4", "C64", "Q4", "", None]


AT = st.integers(0, 2**20)  # a place, in whatever there is: counted round and round
IN_HEADER = st.one_of(
    st.tuples(st.just("shape"), AT, st.lists(SIZES, max_size=4) | JSON),
    st.tuples(st.just("dtype"), AT, st.sampled_from(DTYPES)),
    st.tuples(st.just("data_offsets"), AT, st.lists(SIZES, max_size=3) | JSON),
    st.tuples(st.just("name"), AT, st.text(max_size=9) | st.sampled_from(["../../x", "a\0b", "\ud800", "x\ny"])),
    st.tuples(st.just("entry"), AT, JSON),
    st.tuples(st.sampled_from(["drop", "twice", "swap"]), AT, AT),
)
IN_BYTES = st.one_of(
    st.tuples(st.just("length"), st.integers(0, 2**64 - 1) | st.integers(0, 5000)),
    st.tuples(st.just("cut"), AT),
    st.tuples(st.just("tail"), st.binary(min_size=1, max_size=9)),
    st.tuples(st.just("byte"), st.tuples(AT, st.integers(0, 255))),
    st.tuples(st.just("number"), st.floats(width=32) | st.sampled_from([float("nan"), float("inf")])),
)


def spoilt_header(entries, changes):
    """The text of a safetensors header: the entries of a good one after some changes, a name perhaps twice."""
    items = list(entries.items())
    for what, place, value in changes:
        at = place % len(items)
        name, entry = items[at]
        if what in ("shape", "dtype", "data_offsets"):
            items[at] = name, (entry if isinstance(entry, dict) else {}) | {what: value}
        elif what == "name":
            items[at] = value, entry
        elif what == "entry":
            items[at] = name, value
        elif what == "drop" and len(items) > 1:
            del items[at]
        elif what == "twice":
            items.append((name, items[value % len(items)][1]))
        elif what == "swap":
            other = value % len(items)
            items[at], items[other] = (name, items[other][1]), (items[other][0], entry)
    return "{" + ", ".join(f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in items) + "}"


def spoilt_adapter(good, in_header, in_bytes):
    """The bytes of an adapter's weights: header, its length and the numbers, each perhaps spoilt."""
    packed = bytearray(join(spoilt_header(good[0], in_header), good[1]))
    for what, value in in_bytes:
        if what == "length":
            packed[:8] = struct.pack("<Q", value)
        elif what == "cut":
            del packed[value % (len(packed) + 1) :]
        elif what == "tail":
            packed += value
        elif what == "byte" and packed:
            packed[value[0] % len(packed)] = value[1]
        elif what == "number":
            packed[-4:] = struct.pack("<f", value)
    return bytes(packed)


@pytest.fixture(scope="module")
def network(tiny_base):
    return gpt2.GPT2ForSequenceClassification.from_pretrained(tiny_base)


@pytest.fixture(scope="module")
def good(trained):
    return split(trained / ADAPTER)


def load(network, directory):
    """All or nothing: after a refusal the model is as before, after loading every tensor is finite and in its place."""
    before = [(name, id(module)) for name, module in network.named_modules()]
    with only(lora.AdapterError) as refusal:
        lora.load_adapter(network, directory)
    if not refusal:
        assert all(t.isfinite().all() for t in lora.lora_state_dict(network).values())
        lora.remove_lora(network)
    assert [(name, id(module)) for name, module in network.named_modules()] == before
    with only(lora.AdapterError):
        lora.head_shape(directory)


@given(in_header=st.just([]) | st.lists(IN_HEADER, max_size=3), in_bytes=st.lists(IN_BYTES, max_size=2))
@examples()
def test_whatever_the_weights_hold(network, good, adapter, in_header, in_bytes):
    (adapter / ADAPTER).write_bytes(spoilt_adapter(good, in_header, in_bytes))
    load(network, adapter)


KEYS = ["r", "lora_alpha", "lora_dropout", "target_modules", "modules_to_save", "task_type", "use_rslora", "bias"]
KEYS += [
    "init_lora_weights",
    "fan_in_fan_out",
    "peft_type",
    "rank_pattern",
    "auto_mapping",
    "megatron_core",
    "revision",
]
NAMES = st.lists(st.sampled_from(["c_attn", "c_proj", "score", "(a+)+$", "", "h", "transformer"]), max_size=4)
VALUES = (
    JSON | SIZES | NAMES | st.sampled_from(["LORA", "IA3", "none", "SEQ_CLS", "CAUSAL_LM", "gaussian", "pissa", {}])
)


@given(
    known=st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=2),
    unknown=st.just({}) | st.dictionaries(st.text(max_size=6), JSON, max_size=2),
)
@examples()
def test_whatever_the_settings_hold(network, trained, adapter, known, unknown):
    values = json.loads((trained / CONFIG).read_text())
    (adapter / CONFIG).write_text(json.dumps(values | known | unknown))
    load(network, adapter)


@given(content=st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
@examples()
def test_whatever_stands_in_the_place_of_the_settings(network, adapter, content):
    (adapter / CONFIG).write_bytes(content)
    load(network, adapter)


IN_VOCAB = st.one_of(
    st.tuples(st.sampled_from(["swap", "gone", "join"]), AT, AT),
    st.tuples(st.sampled_from(["new", "rename"]), AT, st.text(max_size=6)),
    st.tuples(st.just("id"), AT, SIZES | JSON),
)
# Every byte that UTF-8 has: those of two are begun anew every 64 characters, of three every 4,096.
EVERY_BYTE = "".join(map(chr, (*range(0x800), *range(0x800, 0xD800, 0x2F1), *range(0xE000, 0x110000, 0x2F1))))
LETTERS = st.sampled_from("abeilnorst")
IN_MERGES = st.one_of(
    st.tuples(st.sampled_from(["swap", "again", "gone"]), AT, AT),
    st.tuples(st.just("text"), AT, st.text(max_size=12) | st.tuples(LETTERS, LETTERS).map(" ".join)),
)


def spoilt_vocab(vocab, changes):
    """vocab.json's text after some changes: ids changed over, tokens new, gone, renamed or with ids that are none."""
    vocab = dict(vocab)
    for what, place, value in changes:
        tokens = list(vocab)
        token = tokens[place % len(tokens)]
        other = tokens[value % len(tokens)] if what in ("swap", "join") else None
        if what == "swap":
            vocab[token], vocab[other] = vocab[other], vocab[token]
        elif what == "gone":
            del vocab[token]
        elif what == "new":
            vocab[value] = len(vocab)
        elif what in ("rename", "join"):
            vocab[value if what == "rename" else token + other] = vocab.pop(token)
        else:
            vocab[token] = value
    return json.dumps(vocab)


def spoilt_merges(lines, changes):
    """merges.txt after some changes: lines changed over, repeated, gone, invented."""
    lines = list(lines)
    for what, place, value in changes:
        at = place % len(lines)
        if what == "swap":
            other = value % len(lines)
            lines[at], lines[other] = lines[other], lines[at]
        elif what == "again":
            lines.insert(at, lines[value % len(lines)])
        elif what == "gone" and len(lines) > 1:
            del lines[at]
        elif what == "text":
            lines[at] = value
    return "\n".join(lines)


@pytest.fixture(scope="module")
def tokenizer_files(tiny_base):
    merges = (tiny_base / "merges.txt").read_text(encoding="utf-8").split("\n")
    return json.loads((tiny_base / "vocab.json").read_text(encoding="utf-8")), merges


@given(
    in_vocab=st.lists(IN_VOCAB, max_size=3),
    in_merges=st.lists(IN_MERGES, max_size=3),
    texts=st.lists(st.text(max_size=40), max_size=4),
)
@examples()
def test_whatever_the_vocabulary_and_the_merges_hold(tokenizer_files, tmp_path, in_vocab, in_merges, texts):
    """A tokenizer that is accepted loses nothing of any text."""
    vocab, merges = tokenizer_files
    (tmp_path / "vocab.json").write_text(spoilt_vocab(vocab, in_vocab), encoding="utf-8")
    (tmp_path / "merges.txt").write_text(spoilt_merges(merges, in_merges), encoding="utf-8")
    texts = [*texts, EVERY_BYTE, "free entry <|endoftext|> résumé 🙂\n\x00"]
    with only(gpt2.CheckpointError):
        tokenizer = gpt2.Tokenizer(tmp_path)
        for text, ids in zip(texts, tokenizer.encode_batch(texts), strict=True):
            assert ids == tokenizer.encode(text)
            assert all(0 <= i < tokenizer.vocab_size for i in ids)
            assert tokenizer.decode(ids) == text


def test_the_good_files_pass_through_the_same_gates(network, trained, good, adapter, tokenizer_files, tmp_path):
    (adapter / ADAPTER).write_bytes(join(json.dumps(good[0]), good[1]))
    lora.load_adapter(network, adapter)
    lora.remove_lora(network)
    (tmp_path / "vocab.json").write_text(json.dumps(tokenizer_files[0]))
    (tmp_path / "merges.txt").write_text("\n".join(tokenizer_files[1]), encoding="utf-8")
    assert gpt2.Tokenizer(tmp_path).encode("free entry")

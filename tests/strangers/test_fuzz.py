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
DTYPES = st.sampled_from(
    ["F32", "F16", "BF16", "F64", "I64", "I8", "U8", "BOOL", "F8_E4M3", "F4", "C64", "Q4", "", None]
)


@st.composite
def spoilt_header(draw, entries):
    """The text of a safetensors header: the entries of a good one after some changes, a name perhaps twice."""
    items = [(name, dict(entry)) for name, entry in entries.items()]
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(items) - 1))
        name, entry = items[at]
        what = draw(st.sampled_from(["shape", "dtype", "offsets", "name", "drop", "twice", "entry", "key", "swap"]))
        if what == "shape":
            items[at] = name, entry | {"shape": draw(st.lists(SIZES, max_size=4) | JSON)}
        elif what == "dtype":
            items[at] = name, entry | {"dtype": draw(st.sampled_from(DTYPES))}
        elif what == "offsets":
            items[at] = name, entry | {"data_offsets": draw(st.lists(SIZES, max_size=3) | JSON)}
        elif what == "name":
            items[at] = draw(st.text(max_size=9) | st.sampled_from(["../../x", "a\0b", "\ud800", name + "\n"])), entry
        elif what == "drop" and len(items) > 1:
            del items[at]
        elif what == "twice":
            items.append((name, dict(items[draw(st.integers(0, len(items) - 1))][1])))
        elif what == "entry":
            items[at] = name, draw(st.dictionaries(st.text(max_size=5), JSON, max_size=3))
        elif what == "key":
            items[at] = name, entry | {draw(st.text(max_size=6)): draw(JSON)}
        else:
            other = draw(st.integers(0, len(items) - 1))
            items[at], items[other] = (name, items[other][1]), (items[other][0], entry)
    return "{" + ", ".join(f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in items) + "}"


@st.composite
def spoilt_adapter(draw, entries, numbers):
    """The bytes of an adapter's weights: header, its length and the numbers, each perhaps spoilt."""
    text = draw(spoilt_header(entries)) if draw(st.integers(0, 3)) else json.dumps(entries)
    packed = bytearray(join(text, numbers))
    for _ in range(draw(st.integers(0, 2))):
        what = draw(st.sampled_from(["length", "cut", "tail", "bytes", "value"]))
        if what == "length":
            packed[:8] = struct.pack("<Q", draw(st.integers(0, 2**64 - 1) | st.integers(0, len(packed) + 9)))
        elif what == "cut":
            del packed[draw(st.integers(0, len(packed))) :]
        elif what == "tail":
            packed += draw(st.binary(min_size=1, max_size=9))
        elif what == "bytes" and packed:
            packed[draw(st.integers(0, len(packed) - 1))] = draw(st.integers(0, 255))
        elif len(packed) > 8:
            packed[-4:] = struct.pack("<f", draw(st.floats(width=32)))
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


@given(data=st.data())
@examples()
def test_whatever_the_weights_hold(network, trained, good, adapter, data):
    (adapter / ADAPTER).write_bytes(data.draw(spoilt_adapter(*good)))
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


@given(changes=st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=6), VALUES, max_size=4))
@examples()
def test_whatever_the_settings_hold(network, trained, adapter, changes):
    values = json.loads((trained / CONFIG).read_text())
    (adapter / CONFIG).write_text(json.dumps(values | changes))
    load(network, adapter)


@given(content=st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
@examples()
def test_whatever_stands_in_the_place_of_the_settings(network, adapter, content):
    (adapter / CONFIG).write_bytes(content)
    load(network, adapter)


@st.composite
def spoilt_vocab(draw, vocab):
    """vocab.json's text after some changes: ids changed over, tokens new, gone, renamed or with ids that are none."""
    vocab = dict(vocab)
    for _ in range(draw(st.integers(0, 3))):
        tokens = list(vocab)
        one, other = (tokens[draw(st.integers(0, len(tokens) - 1))] for _ in range(2))
        what = draw(st.sampled_from(["swap", "new", "gone", "rename", "id"]))
        if what == "swap":
            vocab[one], vocab[other] = vocab[other], vocab[one]
        elif what == "new":
            vocab[draw(st.text(max_size=6))] = len(vocab)
        elif what == "gone":
            del vocab[one]
        elif what == "rename":
            vocab[draw(st.text(max_size=6) | st.just(one + other))] = vocab.pop(one)
        else:
            vocab[one] = draw(SIZES | JSON)
    return json.dumps(vocab)


@st.composite
def spoilt_merges(draw, lines):
    """merges.txt after some changes: lines changed over, repeated, gone, invented."""
    lines = list(lines)
    for _ in range(draw(st.integers(0, 3))):
        at, other = draw(st.integers(0, len(lines) - 1)), draw(st.integers(0, len(lines) - 1))
        what = draw(st.sampled_from(["swap", "again", "gone", "text", "pair"]))
        if what == "swap":
            lines[at], lines[other] = lines[other], lines[at]
        elif what == "again":
            lines.insert(at, lines[other])
        elif what == "gone" and len(lines) > 1:
            del lines[at]
        elif what == "text":
            lines[at] = draw(st.text(max_size=12))
        else:
            letters = st.sampled_from("abeilnorst")
            lines.append(f"{draw(letters)} {draw(letters)}")
    return "\n".join(lines)


@pytest.fixture(scope="module")
def tokenizer_files(tiny_base):
    merges = (tiny_base / "merges.txt").read_text(encoding="utf-8").split("\n")
    return json.loads((tiny_base / "vocab.json").read_text(encoding="utf-8")), merges


@given(data=st.data(), texts=st.lists(st.text(max_size=40), min_size=1, max_size=4))
@examples()
def test_whatever_the_vocabulary_and_the_merges_hold(tokenizer_files, tmp_path, data, texts):
    """A tokenizer that is accepted loses nothing of any text."""
    vocab, merges = tokenizer_files
    (tmp_path / "vocab.json").write_text(data.draw(spoilt_vocab(vocab)), encoding="utf-8")
    (tmp_path / "merges.txt").write_text(data.draw(spoilt_merges(merges)), encoding="utf-8")
    texts = [*texts, "free entry <|endoftext|> résumé 🙂\n\x00"]
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

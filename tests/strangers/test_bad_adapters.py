"""Adapters that are not what they should be: each is refused in one line that says why, and nothing is written."""

import json
import os
import zipfile

import pytest
import torch

from tests.strangers.spoiling import (
    ADAPTER,
    CONFIG,
    PREFIX,
    SCORE,
    A,
    B,
    content,
    entry,
    fields,
    header,
    nested,
    raw,
    renamed,
    tensors,
    without,
)

pytestmark = [pytest.mark.promise("P12"), pytest.mark.promise("P16")]


def pickled(directory):
    (directory / ADAPTER).write_bytes(b"\x80\x04\x95\x0f\x00\x00\x00\x00\x00\x00\x00cos\nsystem\n.")


def zipped(directory):
    with zipfile.ZipFile(directory / ADAPTER, "w") as file:
        file.writestr("archive/data.pkl", b"\x80\x02.")


def pickle_alone(directory):
    (directory / ADAPTER).rename(directory / "adapter_model.bin")


def piped(file):
    def spoil(directory):
        (directory / file).unlink()
        os.mkfifo(directory / file)

    return spoil


def linked(file, target):
    def spoil(directory):
        (directory / file).unlink()
        (directory / file).symlink_to(target)

    return spoil


def twice(directory):
    """Two tensors of one name: the library takes the last."""
    header(ADAPTER, lambda h: json.dumps(h)[:-1] + f', "{A}": {json.dumps(h[A])}}}')(directory)


def transposed(found):
    return found | {A: found[A].T, B: found[B].T}


def numbers(change):
    return lambda directory: (directory / ADAPTER).write_bytes(change((directory / ADAPTER).read_bytes()))


def number(name, value, dtype=torch.float32):
    return tensors(ADAPTER, lambda found: found | {name: torch.full(found[name].shape, value, dtype=dtype)})


SPOILT = {
    # 63: adapter_config.json
    "no JSON": (content(CONFIG, b"r = 4"), "adapter_config.json: cannot be read as JSON"),
    "an array": (content(CONFIG, b"[1, 2]"), "it holds no JSON object"),
    "50 MB": (content(CONFIG, b" " * 50_000_000), "larger than 1,048,576 bytes"),
    "a byte order mark": (raw(CONFIG, ("{", "\ufeff{")), "cannot be read as JSON"),
    "not UTF-8": (content(CONFIG, b'{"r": "\xff"}'), "cannot be read as JSON"),
    "deep": (content(CONFIG, b'{"r": ' + b"[" * 200_000), "nested too deeply"),
    **{f"{n} deep": (fields(CONFIG, r=nested(n)), "nested too deeply") for n in (50, 300, 900)},
    "a number of 5,000 digits": (raw(CONFIG, ('"r": 4', '"r": ' + "9" * 5000)), "cannot be read as JSON"),
    "a key twice": (raw(CONFIG, ('"r": 4', '"r": 4, "r": 8')), "'r' is there twice"),
    "a pipe": (piped(CONFIG), "adapter: no adapter there"),
    # 64: what is not computed here
    "IA3": (fields(CONFIG, peft_type="IA3"), "peft_type is 'IA3'"),
    "DoRA": (fields(CONFIG, use_dora=True), "not supported here: use_dora=true"),
    "bias": (fields(CONFIG, bias="all"), 'not supported here: bias="all"'),
    "ranks by pattern": (fields(CONFIG, rank_pattern={"(a+)+$": 2}), "not supported here: rank_pattern"),
    "layers by pattern": (fields(CONFIG, layers_pattern="(a+)+$"), "not supported here: layers_pattern"),
    "an unknown key": (fields(CONFIG, **{"sq\nuare": 2}), "unknown settings sq\\nuare"),
    "another start": (fields(CONFIG, init_lora_weights="pissa"), "init_lora_weights='pissa'"),
    "a flag in words": (fields(CONFIG, use_rslora="false"), "use_rslora must be true or false"),
    # 65: r
    **{f"r is {r!r}": (fields(CONFIG, r=r), "r must be a whole number") for r in (0, -1, 1.5, "8", True, None, 2**31)},
    "r is 1e9": (fields(CONFIG, r=10**9), "rank 4, but adapter_config.json says r=1000000000"),
    "r is NaN": (fields(CONFIG, r=float("nan")), "NaN is no number in JSON"),
    "r is another": (fields(CONFIG, r=8), "rank 4, but adapter_config.json says r=8"),
    # 66: lora_alpha
    "alpha is NaN": (fields(CONFIG, lora_alpha=float("nan")), "NaN is no number in JSON"),
    "alpha is inf": (fields(CONFIG, lora_alpha=float("inf")), "Infinity is no number in JSON"),
    "alpha is 1e999": (raw(CONFIG, ('"lora_alpha": 32.0', '"lora_alpha": 1e999')), "1e999 is too large"),
    "alpha is 1e308": (fields(CONFIG, lora_alpha=1e308), "more than float32 can hold"),
    "alpha is 0": (fields(CONFIG, lora_alpha=0), "lora_alpha must be a number above 0"),
    "alpha is true": (fields(CONFIG, lora_alpha=True), "lora_alpha must be a number above 0"),
    # 67: target_modules
    "a pattern": (fields(CONFIG, target_modules="(a+)+$"), "must be a list of names, not the pattern"),
    "a pattern in a list": (fields(CONFIG, target_modules=["(.+)+c_attn"]), "matches nothing"),
    "no targets": (fields(CONFIG, target_modules=[]), "target_modules is empty"),
    "other targets": (fields(CONFIG, target_modules=["c_attn"]), "not part of this model"),
    "a million letters": (fields(CONFIG, target_modules=["x" * 900_000]), "must be a list of names"),
    # 68: keys
    "a key missing": (tensors(ADAPTER, lambda t: {k: v for k, v in t.items() if k != A}), f"missing: {A}"),
    "no head": (tensors(ADAPTER, lambda t: {k: v for k, v in t.items() if k != SCORE}), f"missing: {SCORE}"),
    "a key too many": (tensors(ADAPTER, lambda t: t | {"x": torch.zeros(1)}), "not part of this model: x"),
    "a key with a line break": (
        tensors(ADAPTER, lambda t: t | {"\nx": torch.zeros(1)}),
        "not part of this model: \\nx",
    ),
    "a path for a key": (
        tensors(ADAPTER, lambda t: t | {"../../x": torch.zeros(1)}),
        "not part of this model: ../../x",
    ),
    "compiled": (renamed(lambda k: k.replace("model.", "model._orig_mod.", 1)), "_orig_mod"),
    "in parallel": (renamed(lambda k: f"module.{k}"), "not part of this model: module."),
    "the prefix twice": (renamed(lambda k: PREFIX + k), f"not part of this model: {PREFIX * 2}"),
    "no prefix": (renamed(lambda k: k.removeprefix(PREFIX)), "missing: base_model.model."),
    "an embedding": (renamed(lambda k: k.replace("lora_A.weight", "lora_embedding_A")), "lora_embedding_A"),
    # 69: shapes
    "A and B changed over": (tensors(ADAPTER, lambda t: t | {A: t[B], B: t[A]}), "this model needs"),
    "transposed": (tensors(ADAPTER, transposed), f"{A} is (32, 4), this model needs (4, 32)"),
    "a giant of nothing": (tensors(ADAPTER, lambda t: t | {A: torch.zeros(10**9, 0)}), f"{A} is (1000000000, 0)"),
    # numbers that are none
    "NaN": (number(B, float("nan")), f"{B}, float32, holds values that are not finite"),
    "infinite in float32": (number(B, 1e300, torch.float64), f"{B}, float64, holds values that are not finite"),
    "whole numbers": (number(B, 1, torch.int64), f"{B}, int64, holds values"),
    # 72, 73: files that are none
    "pickle alone": (pickle_alone, "adapter_model.bin is pickle and is not read; convert it with peft"),
    "a pickle renamed": (pickled, "a pickle or a zip file under another name"),
    "a zip renamed": (zipped, "a pickle or a zip file under another name"),
    "weights from a pipe": (piped(ADAPTER), "it is no regular file"),
    "weights that never end": (linked(ADAPTER, "/dev/zero"), "it is no regular file"),
    "settings that never end": (linked(CONFIG, "/dev/zero"), "no adapter there"),
    "no weights": (without(ADAPTER), "adapter_model.safetensors: not found"),
    "empty": (content(ADAPTER, b""), "not a whole safetensors file"),
    "the end cut off": (
        lambda d: (d / ADAPTER).write_bytes((d / ADAPTER).read_bytes()[:-9]),
        "not a whole safetensors",
    ),
    "a tail": (lambda d: (d / ADAPTER).write_bytes((d / ADAPTER).read_bytes() + b"PK"), "not a whole safetensors file"),
    # the header
    "a tensor twice": (twice, "is there twice"),
    "a header of 2**62": (header(ADAPTER, length=2**62), "claims a header of 4,611,686,018,427,387,904 bytes"),
    "a header longer than the file": (header(ADAPTER, length=2**19), "not a whole safetensors file"),
    "a header of an array": (header(ADAPTER, lambda h: "[]"), "it holds no JSON object"),
    "a deep header": (header(ADAPTER, lambda h: '{"x":' + "[" * 200_000), "nested too deeply"),
    "a tensor of 2**40": (entry(ADAPTER, A, shape=[2**40]), "more numbers than the file has room for"),
    "a head of 10**9 labels": (entry(ADAPTER, SCORE, shape=[10**9, 32]), "more numbers than the file has room for"),
    "a shape below 0": (entry(ADAPTER, A, shape=[-4, 32]), "no shape"),
    "a shape of true": (entry(ADAPTER, A, shape=[True, 128]), "no shape"),
    "no shape": (header(ADAPTER, lambda h: h | {A: 1}), "no shape"),
    "an unknown dtype": (entry(ADAPTER, A, dtype="Q4"), "not a whole safetensors file"),
    "tensors that overlap": (entry(ADAPTER, A, data_offsets=[0, 512]), "not a whole safetensors file"),
    "offsets beyond the end": (entry(ADAPTER, A, data_offsets=[2**50, 2**50 + 512]), "not a whole safetensors file"),
    # 74: labels
    "three labels": (fields("task.json", label_names=["a", "b", "c"]), "names 3 labels, the head has 2"),
    "another head": (tensors(ADAPTER, lambda t: t | {SCORE: torch.ones(3, 32)}), "names 2 labels, the head has 3"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_spoilt_adapter_is_refused_in_one_line(adapter, asks, refused, name):
    spoil, words = SPOILT[name]
    spoil(adapter)
    message = refused(asks(adapter))
    assert words in message and str(adapter) in message
    assert len(message) < 1000


GOOD = {
    "rank-stabilised": fields(CONFIG, use_rslora=True),
    "drawn otherwise": fields(CONFIG, init_lora_weights="gaussian"),
    "fan_in_fan_out": fields(CONFIG, fan_in_fan_out=True),
    "no fan_in_fan_out": fields(CONFIG, fan_in_fan_out=False),
    "keys that compute nothing": fields(
        CONFIG, auto_mapping={"parent_library": "evil"}, revision="x", new_in_peft=None
    ),
    "halves": tensors(ADAPTER, lambda found: {key: t.half() for key, t in found.items()}),
    "the base named otherwise": fields(CONFIG, base_model_name_or_path="evil/x"),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_is_supported_is_accepted(adapter, infers, name):
    GOOD[name](adapter)
    code, out, err = infers(adapter, texts=("free prize",))
    assert (code, err) == (0, "") and "free prize" in out


def test_an_adapter_that_changes_nothing_says_so(adapter, infers):
    tensors(ADAPTER, lambda found: {k: t * ("lora_B" not in k) for k, t in found.items()})(adapter)
    code, out, err = infers(adapter, texts=("free prize",))
    assert code == 0 and "free prize" in out
    assert err.startswith("warning: ") and "this adapter changes nothing" in err and err.count("\n") == 1


def test_an_adapter_beside_code_is_loaded_and_the_code_left_alone(adapter, infers):
    for name in ("modeling.py", "__init__.py", "json.py"):
        (adapter / name).write_text("raise SystemExit('this must not run')")
    assert infers(adapter, texts=("free prize",))[0] == 0


def test_a_header_whose_length_begins_as_a_pickle_does_is_an_honest_one(adapter, infers):
    for length in (0x0880, 0x2580):
        header(ADAPTER, lambda h, n=length: json.dumps(h).ljust(n))(adapter)
        assert (adapter / ADAPTER).read_bytes().startswith(b"\x80")
        assert infers(adapter, texts=("free prize",))[0] == 0

"""Adapter files: the same bytes every time, strict loading, and a model left as it was after an error."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import gpt2
from lora import (
    AdapterError,
    LoraConfig,
    active_adapters,
    apply_lora,
    head_shape,
    load_adapter,
    lora_state_dict,
    save_adapter,
    trainable_parameters,
)

CONFIG = LoraConfig(r=4, lora_alpha=8, lora_dropout=0.1, target_modules=("c_attn", "c_proj"), task_type="SEQ_CLS")
IDS = torch.tensor([[5, 17, 80, 3, 42]])
C_ATTN = "base_model.model.transformer.h.1.attn.c_attn.lora_A.weight"
C_ATTN_B = "base_model.model.transformer.h.1.attn.c_attn.lora_B.weight"
SCORE = "base_model.model.score.weight"


@pytest.fixture
def base(tiny_base):
    torch.manual_seed(3)
    return gpt2.GPT2ForSequenceClassification.from_pretrained(tiny_base)


@pytest.fixture
def tuned(tiny_base):
    """A model whose adapter is away from zero everywhere."""
    torch.manual_seed(3)
    model = apply_lora(gpt2.GPT2ForSequenceClassification.from_pretrained(tiny_base), CONFIG)
    with torch.no_grad():
        for parameter in trainable_parameters(model).values():
            parameter.normal_(std=0.3)
    return model


@pytest.fixture
def adapter(tuned, tmp_path):
    save_adapter(tuned, tmp_path / "adapter")
    return tmp_path / "adapter"


def edit_tensors(directory, change):
    """Run the adapter's tensors through `change`."""
    path = directory / "adapter_model.safetensors"
    tensors = load_file(path)
    tensors = change(tensors) or tensors
    save_file(tensors, path, metadata={"format": "pt"})


def edit_config(directory, **changes):
    path = directory / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def snapshot(model):
    """All that an outsider can see of a model's state."""
    return {
        "tensors": {name: t.clone() for name, t in model.state_dict().items()},
        "trainable": sorted(trainable_parameters(model)),
        "types": {name: type(m).__name__ for name, m in model.named_modules()},
        "training": {name for name, m in model.named_modules() if m.training},
        "adapters": sorted(getattr(model, "peft_config", {})),
        "active": active_adapters(model),
        "rng": torch.get_rng_state(),
    }


def same(one, two):
    return (
        list(one["tensors"]) == list(two["tensors"])
        and all(torch.equal(one["tensors"][k], two["tensors"][k]) for k in one["tensors"])
        and torch.equal(one["rng"], two["rng"])
        and all(one[key] == two[key] for key in ("trainable", "types", "training", "adapters", "active"))
    )


def refused(model, directory, name="default"):
    """The one-line message of a refusal that left the model as it was."""
    before = snapshot(model)
    with pytest.raises(AdapterError) as caught:
        load_adapter(model, directory, name)
    assert "\n" not in str(caught.value)
    assert same(before, snapshot(model)), "the refused adapter changed the model"
    return str(caught.value)


def test_a_saved_adapter_gives_the_same_logits_when_loaded(tuned, base, adapter):
    load_adapter(base, adapter)
    assert torch.equal(base(IDS).logits, tuned.eval()(IDS).logits)
    for key, tensor in lora_state_dict(base).items():
        assert torch.equal(tensor, lora_state_dict(tuned)[key])


def test_the_same_adapter_gives_the_same_bytes(tuned, base, adapter, tmp_path):
    save_adapter(tuned, tmp_path / "again")
    save_adapter(load_adapter(base, adapter), tmp_path / "reloaded")
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        first = (adapter / file).read_bytes()
        assert (tmp_path / "again" / file).read_bytes() == first
        assert (tmp_path / "reloaded" / file).read_bytes() == first


def test_only_the_adapter_and_the_head_are_in_the_file(adapter):
    tensors = load_file(adapter / "adapter_model.safetensors")
    lora = {f"transformer.h.{i}.{m}" for i in (0, 1) for m in ("attn.c_attn", "attn.c_proj", "mlp.c_proj")}
    expected = {f"base_model.model.{m}.lora_{x}.weight" for m in lora for x in "AB"} | {SCORE}
    assert set(tensors) == expected
    assert tensors[C_ATTN].shape == (4, 32) and tensors[C_ATTN_B].shape == (96, 4)
    assert sorted(p.name for p in adapter.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]


def test_every_adapter_is_saved_under_the_same_keys_whatever_its_name(tuned, tmp_path):
    apply_lora(tuned, CONFIG, "lora")
    assert set(lora_state_dict(tuned, "lora")) == set(lora_state_dict(tuned))
    save_adapter(tuned, tmp_path / "second", "lora")
    assert not load_file(tmp_path / "second" / "adapter_model.safetensors")[C_ATTN_B].any()


def test_a_loaded_adapter_is_frozen_unless_asked_for(tiny_base, adapter):
    frozen = load_adapter(gpt2.GPT2ForSequenceClassification.from_pretrained(tiny_base), adapter)
    assert trainable_parameters(frozen) == {}
    training = load_adapter(gpt2.GPT2ForSequenceClassification.from_pretrained(tiny_base), adapter, is_trainable=True)
    assert len(trainable_parameters(training)) == 2 * 6 + 1


def test_loading_draws_nothing_from_the_random_generator(base, adapter):
    state = torch.get_rng_state()
    load_adapter(base, adapter)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_head_tells_its_shape_before_a_model_is_built(adapter):
    assert head_shape(adapter) == (2, 32)
    edit_tensors(adapter, lambda t: {key: x for key, x in t.items() if key != SCORE})
    assert head_shape(adapter) is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_half_precision_file_loads_into_float32(base, adapter, dtype):
    edit_tensors(adapter, lambda t: {key: x.to(dtype) for key, x in t.items()})
    load_adapter(base, adapter)
    tensors, expected = lora_state_dict(base), load_file(adapter / "adapter_model.safetensors")
    assert {t.dtype for t in tensors.values()} == {torch.float32}
    assert all(torch.equal(tensors[key], expected[key].float()) for key in tensors)


@pytest.mark.parametrize("key", [C_ATTN_B, SCORE])
def test_a_missing_tensor_is_named(base, adapter, key):
    edit_tensors(adapter, lambda t: {name: x for name, x in t.items() if name != key})
    assert key in refused(base, adapter)


def test_an_extra_tensor_is_named(base, adapter):
    extra = C_ATTN.replace("h.1", "h.9")
    edit_tensors(adapter, lambda t: t | {extra: torch.zeros(4, 32)})
    assert extra in refused(base, adapter)


def test_a_tensor_of_a_module_that_the_config_does_not_name_is_refused(base, adapter):
    edit_config(adapter, target_modules=["c_attn"])
    assert "c_proj" in refused(base, adapter)


@pytest.mark.parametrize("shape", [(4, 33), (4,), (32, 4), (), (0, 32)])
def test_a_tensor_of_another_shape_is_named(base, adapter, shape):
    edit_tensors(adapter, lambda t: t | {C_ATTN: torch.zeros(shape)})
    assert C_ATTN in refused(base, adapter)


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_a_value_that_is_not_finite_is_named(base, adapter, value):
    edit_tensors(adapter, lambda t: t | {C_ATTN_B: torch.full((96, 4), value)})
    assert C_ATTN_B in refused(base, adapter)


def test_whole_numbers_are_no_adapter(base, adapter):
    edit_tensors(adapter, lambda t: t | {C_ATTN_B: torch.zeros(96, 4, dtype=torch.int64)})
    assert C_ATTN_B in refused(base, adapter)


@pytest.mark.parametrize("r", [2, 8, 1_000_000_000])
def test_a_rank_other_than_the_files_is_refused_before_it_is_built(base, adapter, r):
    edit_config(adapter, r=r)
    message = refused(base, adapter)
    assert f"r={r}" in message and "rank 4" in message


def test_an_adapter_for_other_labels_is_refused(tiny_base, adapter):
    model = gpt2.GPT2ForSequenceClassification.from_pretrained(tiny_base, num_labels=3)
    assert "score.weight" in refused(model, adapter)


def test_a_classifiers_adapter_is_refused_on_a_language_model(tiny_base, adapter):
    assert "score" in refused(gpt2.GPT2LMHeadModel.from_pretrained(tiny_base), adapter)


def test_keys_without_the_prefix_are_refused(base, adapter):
    edit_tensors(adapter, lambda t: {key.removeprefix("base_model.model."): x for key, x in t.items()})
    assert "missing" in refused(base, adapter)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("use_dora", True),
        ("bias", "lora_only"),
        ("rank_pattern", {"c_proj": 4}),
        ("peft_type", "IA3"),
        ("target_modules", r".*\.c_attn"),
        ("target_modules", ["c_atn"]),
    ],
)
def test_what_this_project_does_not_compute_is_refused_by_its_name(base, adapter, key, value):
    edit_config(adapter, **{key: value})
    message = refused(base, adapter)
    assert key in message or "target module" in message


@pytest.mark.parametrize("file", ["adapter_config.json", "adapter_model.safetensors"])
def test_a_missing_or_broken_file_is_named(base, adapter, file):
    content = (adapter / file).read_bytes()
    (adapter / file).write_bytes(content[: len(content) // 2])
    assert str(adapter / file) in refused(base, adapter)
    (adapter / file).unlink()
    assert str(adapter / file) in refused(base, adapter)


def test_a_pickle_file_is_not_read_and_the_message_says_why(base, adapter):
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    assert "pickle" in refused(base, adapter)


def test_a_failing_second_adapter_leaves_the_first_as_it_was(tuned, adapter):
    edit_tensors(adapter, lambda t: t | {C_ATTN_B: torch.full((96, 4), float("nan"))})
    refused(tuned, adapter, "second")


def test_a_failing_second_adapter_on_other_layers_leaves_them_unwrapped(tiny_base, adapter):
    model = gpt2.GPT2ForSequenceClassification.from_pretrained(tiny_base)
    apply_lora(model, LoraConfig(r=2, target_modules=("c_fc",)))
    edit_tensors(adapter, lambda t: t | {C_ATTN_B: torch.full((96, 4), float("nan"))})
    refused(model, adapter, "second")


def test_an_adapter_is_not_saved_with_values_that_are_not_finite(tuned, tmp_path):
    with torch.no_grad():
        tuned.transformer.h[0].attn.c_attn.lora_B["default"].weight[0, 0] = float("nan")
    with pytest.raises(AdapterError, match=r"h\.0\.attn\.c_attn\.lora_B"):
        save_adapter(tuned, tmp_path / "broken")
    assert not (tmp_path / "broken").exists()


def test_saving_or_loading_under_a_wrong_name_says_which_there_are(tuned, adapter, tmp_path):
    with pytest.raises(AdapterError, match="default"):
        save_adapter(tuned, tmp_path / "x", "defualt")
    assert "default" in refused(tuned, adapter, "default")

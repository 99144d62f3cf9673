"""Model directories: what is read, what is refused and under which name, and that saving loses nothing."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

import gpt2

IDS = torch.tensor([[5, 17, 80, 3, 42]])
C_ATTN = "transformer.h.1.attn.c_attn.weight"
BASE_CLASSES = [gpt2.GPT2Model, gpt2.GPT2LMHeadModel, gpt2.GPT2ForSequenceClassification]


@pytest.fixture
def edited(tiny_base, tmp_path):
    """edited(change): a copy of the tiny base whose tensors went through `change`."""

    def copy(change=lambda tensors: tensors, **config):
        directory = tmp_path / "edited"
        shutil.copytree(tiny_base, directory, dirs_exist_ok=True)
        tensors = load_file(directory / "model.safetensors")
        tensors = change(tensors) or tensors
        save_file({name: t.contiguous() for name, t in tensors.items()}, directory / "model.safetensors")
        values = json.loads((directory / "config.json").read_text()) | config
        (directory / "config.json").write_text(json.dumps(values))
        return directory

    return copy


def without_prefix(tensors):
    return {name.removeprefix("transformer."): t for name, t in tensors.items()}


def refused(cls, directory):
    """The one-line message with which the directory is refused."""
    with pytest.raises(gpt2.CheckpointError) as caught:
        cls.from_pretrained(directory)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, ValueError)
    return str(caught.value)


@pytest.mark.parametrize("cls", BASE_CLASSES)
def test_names_with_and_without_the_prefix_give_the_same_model(cls, tiny_base, edited):
    torch.manual_seed(1)
    one = cls.from_pretrained(tiny_base)
    torch.manual_seed(1)
    two = cls.from_pretrained(edited(without_prefix))
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values()))
    assert torch.equal(one(IDS).last_hidden_state, two(IDS).last_hidden_state)


@pytest.mark.parametrize("prefix", ["", "transformer."])
def test_the_mask_buffers_of_openais_file_are_passed_over(tiny_base, edited, prefix):
    def add_buffers(tensors):
        tensors = tensors if prefix else without_prefix(tensors)
        for block in (0, 1):
            tensors[f"{prefix}h.{block}.attn.bias"] = torch.ones(64, 64).tril().view(1, 1, 64, 64)
            tensors[f"{prefix}h.{block}.attn.masked_bias"] = torch.tensor(-1e4)
        return tensors

    model = gpt2.GPT2LMHeadModel.from_pretrained(edited(add_buffers))
    assert torch.equal(model(IDS).logits, gpt2.GPT2LMHeadModel.from_pretrained(tiny_base)(IDS).logits)
    assert not any(name.endswith(".attn.bias") for name in model.state_dict())


def test_a_missing_tensor_is_named(edited):
    assert C_ATTN in refused(
        gpt2.GPT2LMHeadModel, edited(lambda t: {name: x for name, x in t.items() if name != C_ATTN})
    )


def test_an_extra_tensor_is_named(edited):
    directory = edited(lambda t: t | {"transformer.h.7.ln_1.weight": torch.ones(32)})
    assert "transformer.h.7.ln_1.weight" in refused(gpt2.GPT2LMHeadModel, directory)


def test_a_buffer_with_a_real_layers_name_is_not_passed_over(edited):
    directory = edited(lambda t: t | {"transformer.h.0.attn.rotary.bias": torch.ones(3)})
    assert "transformer.h.0.attn.rotary.bias" in refused(gpt2.GPT2LMHeadModel, directory)


def test_a_tensor_of_another_shape_is_named_with_both_shapes(edited):
    message = refused(gpt2.GPT2LMHeadModel, edited(lambda t: t | {"transformer.ln_f.bias": torch.zeros(31)}))
    assert "transformer.ln_f.bias" in message and "(31,)" in message and "(32,)" in message


def test_a_transposed_conv1d_weight_is_told_as_such(edited):
    message = refused(gpt2.GPT2LMHeadModel, edited(lambda t: t | {C_ATTN: t[C_ATTN].T}))
    assert C_ATTN in message and "(96, 32)" in message and "transposed" in message


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_is_named(edited, value):
    def damage(tensors):
        tensors[C_ATTN][3, 4] = value

    assert C_ATTN in refused(gpt2.GPT2LMHeadModel, edited(damage))


def test_the_same_tensor_under_both_names_is_refused(edited):
    assert "twice" in refused(gpt2.GPT2Model, edited(lambda t: t | {"ln_f.bias": torch.zeros(32)}))


def test_a_head_equal_to_the_embedding_is_accepted(edited, tiny_base):
    directory = edited(lambda t: t | {"lm_head.weight": t["transformer.wte.weight"].clone()})
    model = gpt2.GPT2LMHeadModel.from_pretrained(directory)
    assert torch.equal(model(IDS).logits, gpt2.GPT2LMHeadModel.from_pretrained(tiny_base)(IDS).logits)


@pytest.mark.parametrize("rename", [dict, without_prefix])
def test_a_head_that_differs_from_the_embedding_is_refused(edited, rename):
    directory = edited(lambda t: rename(t) | {"lm_head.weight": t["transformer.wte.weight"] + 1})
    assert "lm_head.weight" in refused(gpt2.GPT2LMHeadModel, directory)


def test_a_file_cut_short_or_absent_is_refused_by_its_path(edited):
    weights = edited() / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert str(weights) in refused(gpt2.GPT2Model, weights.parent)
    weights.unlink()
    (weights.parent / "pytorch_model.bin").write_bytes(b"pickle")
    assert str(weights) in refused(gpt2.GPT2Model, weights.parent)


@pytest.mark.parametrize("text", ["{", "[]", '"gpt2"', "\xff\xfe"])
def test_a_config_that_is_no_json_object_is_refused_by_its_path(edited, text):
    config = edited() / "config.json"
    config.write_bytes(text.encode("latin-1"))
    assert str(config) in refused(gpt2.GPT2Model, config.parent)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n_head", 3),  # does not divide 32
        ("n_head", 0),
        ("n_layer", -1),
        ("vocab_size", "300"),
        ("n_embd", True),
        ("n_inner", 0),
        ("n_inner", "wide"),
        ("attn_pdrop", 1.0),
        ("resid_pdrop", "much"),
        ("layer_norm_epsilon", "small"),
        ("activation_function", "gelu"),
        ("activation_function", "relu"),
        ("scale_attn_weights", False),
        ("scale_attn_by_inverse_layer_idx", True),
        ("reorder_and_upcast_attn", True),
        ("add_cross_attention", True),
        ("tie_word_embeddings", False),
        ("model_type", "gpt_neo"),
        ("id2label", {"0": "ham", "2": "spam"}),
        ("id2label", ["ham", "spam"]),
        ("id2label", {"zero": "ham"}),
    ],
)
def test_a_config_asking_for_what_is_not_computed_is_refused_by_the_field(edited, field, value):
    assert field in refused(gpt2.GPT2ForSequenceClassification, edited(**{field: value}))


def test_fields_that_change_nothing_are_passed_over(edited):
    directory = edited(transformers_version="4.0.0", task_specific_params={"a": 1}, n_ctx=64)
    gpt2.GPT2LMHeadModel.from_pretrained(directory)


def test_a_fresh_score_takes_one_normal_draw_and_nothing_else(tiny_base):
    torch.manual_seed(5)
    model = gpt2.GPT2ForSequenceClassification.from_pretrained(tiny_base, num_labels=3)
    state = torch.get_rng_state()
    torch.manual_seed(5)
    assert torch.equal(model.score.weight, torch.empty(3, 32).normal_(0.0, 0.02))
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("cls", [gpt2.GPT2Model, gpt2.GPT2LMHeadModel])
def test_loading_a_model_without_a_fresh_part_draws_nothing(cls, tiny_base):
    state = torch.get_rng_state()
    cls.from_pretrained(tiny_base)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("cls", BASE_CLASSES)
def test_saved_and_read_back_a_model_is_the_same_to_the_bit(cls, tiny_base, tmp_path):
    model = cls.from_pretrained(tiny_base)
    model.save_pretrained(tmp_path / "saved")
    state = torch.get_rng_state()
    again = cls.from_pretrained(tmp_path / "saved")
    assert again.config == model.config.replace(id2label=again.config.id2label)
    assert list(again.state_dict()) == list(model.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values()))
    assert torch.equal(state, torch.get_rng_state())  # the head came from the file, it was not drawn


def test_labels_survive_saving_and_a_head_for_other_labels_is_refused(tiny_base, tmp_path):
    model = gpt2.GPT2ForSequenceClassification.from_pretrained(tiny_base, id2label={0: "ham", 1: "spam", 2: "ad"})
    model.save_pretrained(tmp_path)
    assert gpt2.read_config(tmp_path).label_names() == ["ham", "spam", "ad"]
    with pytest.raises(gpt2.CheckpointError, match="score.weight"):
        gpt2.GPT2ForSequenceClassification.from_pretrained(tmp_path, num_labels=2)


def test_a_loaded_model_is_in_eval_mode_trainable_and_knows_its_name(tiny_base):
    model = gpt2.GPT2LMHeadModel.from_pretrained(tiny_base)
    assert not any(module.training for module in model.modules())
    assert all(p.requires_grad for p in model.parameters())
    assert model.name_or_path == str(tiny_base)
    assert model.lm_head.weight is model.transformer.wte.weight


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_half_precision_file_loads_as_float32_with_the_files_values(edited, tiny_base, dtype):
    model = gpt2.GPT2LMHeadModel.from_pretrained(edited(lambda t: {name: x.to(dtype) for name, x in t.items()}))
    expected = load_file(tiny_base / "model.safetensors")[C_ATTN].to(dtype).float()
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert torch.equal(model.state_dict()[C_ATTN], expected)


def test_another_dtype_is_given_on_request(tiny_base):
    model = gpt2.GPT2ForSequenceClassification.from_pretrained(tiny_base, dtype=torch.bfloat16)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


def test_a_file_that_changes_after_loading_does_not_change_the_model(edited):
    directory = edited()
    model = gpt2.GPT2LMHeadModel.from_pretrained(directory)
    before = model(IDS).logits
    with (directory / "model.safetensors").open("r+b") as file:
        file.seek(-4096, 2)
        file.write(b"\x7f" * 4096)
    assert torch.equal(model(IDS).logits, before)


def test_the_fingerprint_is_the_same_for_every_class_and_name_form(tiny_base, edited):
    prints = {gpt2.fingerprint(cls.from_pretrained(tiny_base).state_dict()) for cls in BASE_CLASSES}
    prints |= {gpt2.fingerprint(load_file(edited(without_prefix) / "model.safetensors"))}
    assert len(prints) == 1
    assert len(prints.pop()) == 64


@pytest.mark.parametrize("change", ["the last bit of one weight", "two weights swapped"])
def test_the_fingerprint_changes_with_one_weight(tiny_base, change):
    model = gpt2.GPT2LMHeadModel.from_pretrained(tiny_base)
    before = gpt2.fingerprint(model.state_dict())
    with torch.no_grad():
        weight = model.transformer.h[1].mlp.c_fc.weight[7]
        if change == "two weights swapped":
            weight[:2] = weight[:2].flip(0)
        else:
            weight[3] = torch.nextafter(weight[3], torch.tensor(1.0))
    assert gpt2.fingerprint(model.state_dict()) != before

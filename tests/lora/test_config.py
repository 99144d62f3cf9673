"""LoraConfig: the scaling, what is refused and under which name, and its JSON form."""

import json
import math

import pytest

from lora import AdapterError, LoraConfig


def written(**changes):
    """An adapter_config.json with some keys changed, as read back from JSON."""
    config = LoraConfig(r=8, lora_alpha=32, lora_dropout=0.1, target_modules=("c_attn", "c_proj"), task_type="SEQ_CLS")
    return json.loads(json.dumps(config.to_dict())) | changes


def test_scaling_is_alpha_over_r_or_over_its_root():
    assert LoraConfig(r=8, lora_alpha=32).scaling == 4.0
    assert LoraConfig(r=16, lora_alpha=8).scaling == 0.5
    assert LoraConfig(r=16, lora_alpha=8, use_rslora=True).scaling == 2.0
    assert LoraConfig(r=8, lora_alpha=1.5, use_rslora=True).scaling == 1.5 / math.sqrt(8)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("r", 0),
        ("r", -8),
        ("r", 8.0),
        ("r", True),
        ("r", "8"),
        ("r", None),
        ("r", 2**31),
        ("lora_alpha", 0),
        ("lora_alpha", -1),
        ("lora_alpha", float("nan")),
        ("lora_alpha", float("inf")),
        ("lora_alpha", "32"),
        ("lora_alpha", True),
        ("lora_alpha", None),
        ("lora_alpha", 10**400),
        ("lora_dropout", False),
        ("lora_dropout", -0.1),
        ("lora_dropout", 1.0),
        ("lora_dropout", "half"),
        ("target_modules", ()),
        ("target_modules", "c_attn"),
        ("target_modules", ("c_attn", "")),
        ("target_modules", (1, 2)),
        ("modules_to_save", "score"),
        ("init_lora_weights", "pissa"),
        ("init_lora_weights", "kaiming"),
        ("init_lora_weights", 1),
        ("use_rslora", "false"),
        ("fan_in_fan_out", 1),
        ("inference_mode", []),
        ("task_type", 5),
        ("base_model_name_or_path", {}),
    ],
)
def test_a_setting_without_meaning_is_refused_by_its_name(field, value):
    with pytest.raises(AdapterError, match=field) as caught:
        LoraConfig(**{field: value})
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_seq_cls_trains_the_head_and_says_so_once():
    config = LoraConfig(task_type="SEQ_CLS", modules_to_save=("score",))
    assert sorted(config.modules_to_save) == ["classifier", "score"]
    again = LoraConfig.from_dict(config.to_dict())
    assert sorted(again.modules_to_save) == ["classifier", "score"]
    assert LoraConfig().modules_to_save is None


@pytest.mark.parametrize(
    "config",
    [
        LoraConfig(),
        LoraConfig(r=4, lora_alpha=32, lora_dropout=0.1, target_modules=("c_attn", "c_proj"), task_type="SEQ_CLS"),
        LoraConfig(r=3, lora_alpha=1.5, use_rslora=True, init_lora_weights="gaussian", modules_to_save=("ln_f",)),
        LoraConfig(init_lora_weights=False, base_model_name_or_path="gpt2", task_type="CAUSAL_LM"),
    ],
)
def test_a_config_comes_back_from_its_json_unchanged(config):
    again = LoraConfig.from_dict(json.loads(json.dumps(config.to_dict())))
    assert again.to_dict() == config.to_dict()
    assert again.scaling == config.scaling


def test_names_given_twice_count_once_and_are_written_sorted():
    config = LoraConfig(target_modules=["c_proj", "c_attn", "c_proj"])
    assert config.target_modules == ("c_proj", "c_attn")
    assert config.to_dict()["target_modules"] == ["c_attn", "c_proj"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("use_dora", True),
        ("bias", "all"),
        ("bias", "lora_only"),
        ("lora_bias", True),
        ("rank_pattern", {"c_proj": 4}),
        ("alpha_pattern", {"c_proj": 4}),
        ("layers_to_transform", [0, 1]),
        ("layers_to_transform", [0]),
        ("layers_to_transform", 1),
        ("layers_to_transform", 0),
        ("exclude_modules", ["c_fc"]),
        ("layer_replication", [[0, 1]]),
        ("trainable_token_indices", [1, 2]),
        ("target_parameters", ["w"]),
        ("alora_invocation_tokens", [5]),
        ("megatron_config", {"a": 1}),
        ("use_qalora", True),
        ("use_bdlora", {"a": 1}),
        ("eva_config", {"rho": 2.0}),
        ("init_lora_weights", "pissa"),
    ],
)
def test_a_variant_of_lora_that_is_not_computed_is_refused_by_its_name(key, value):
    with pytest.raises(AdapterError, match=key):
        LoraConfig.from_dict(written(**{key: value}))


@pytest.mark.parametrize("kind", ["IA3", "PREFIX_TUNING", "ADALORA", None])
def test_another_kind_of_adapter_is_refused(kind):
    with pytest.raises(AdapterError, match="peft_type"):
        LoraConfig.from_dict(written(peft_type=kind))


@pytest.mark.parametrize("pattern", [r".*\.c_attn", "all-linear"])
def test_a_pattern_for_targets_is_refused_with_the_pattern(pattern):
    with pytest.raises(AdapterError, match="target_modules") as caught:
        LoraConfig.from_dict(written(target_modules=pattern))
    assert pattern in str(caught.value) or repr(pattern) in str(caught.value)


def test_an_unknown_setting_that_is_switched_on_is_refused_and_one_that_is_off_is_not():
    LoraConfig.from_dict(written(brand_new_thing=None, another=False))
    with pytest.raises(AdapterError, match="brand_new_thing"):
        LoraConfig.from_dict(written(brand_new_thing=3))


@pytest.mark.parametrize("key", ["r", "lora_alpha", "lora_dropout"])
def test_a_number_that_is_null_is_not_taken_for_the_default(key):
    with pytest.raises(AdapterError, match=key):
        LoraConfig.from_dict(written(**{key: None}))


def test_an_unknown_setting_cannot_break_the_message_into_lines():
    with pytest.raises(AdapterError) as caught:
        LoraConfig.from_dict(written(**{"a\nb": 1}))
    assert "a\\nb" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["target_modules", "modules_to_save"])
def test_a_list_that_is_none_is_refused_by_its_name(key):
    with pytest.raises(AdapterError, match=key):
        LoraConfig.from_dict(written(**{key: 5}))


@pytest.mark.parametrize("key", ["auto_mapping", "revision", "runtime_config"])
def test_notes_that_change_no_number_are_passed_over(key):
    assert LoraConfig.from_dict(written(**{key: {"note": "x"}})).r == 8

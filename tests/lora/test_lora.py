"""LoRA on its own: the formula by hand, every door opening both ways, and files loaded whole or not at all."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import gpt2
import lora
from lora.layer import LoraLayer

CONFIG = lora.LoraConfig(r=4, lora_alpha=8, target_modules=("c_attn", "c_proj"), task_type="SEQ_CLS")
IDS = torch.tensor([[5, 6, 7, 8]])


@pytest.fixture
def model(tiny_base):
    torch.manual_seed(0)
    return gpt2.GPT2ForSequenceClassification.from_pretrained(tiny_base)


def adapted(model, name="default"):
    """With an adapter that does something: B is no longer zero."""
    lora.apply_lora(model, CONFIG, name)
    torch.manual_seed(1)
    for parameter_name, parameter in model.named_parameters():
        if f"lora_B.{name}" in parameter_name:
            nn.init.normal_(parameter, std=0.1)
    return model


def logits(model):
    with torch.no_grad():
        return model(IDS).logits


def test_the_formula_by_hand_on_four_numbers():
    layer = LoraLayer(nn.Linear(4, 4, bias=False))
    layer.base_layer.weight.data = torch.eye(4)
    layer.add_adapter("default", r=1, scaling=2.0, dropout=0.0)
    layer.active_adapters = ["default"]
    layer.lora_A["default"].weight.data = torch.tensor([[1.0, 2.0, 0.0, 0.0]])
    layer.lora_B["default"].weight.data = torch.tensor([[1.0], [0.0], [0.0], [3.0]])
    # A x = 1*1 + 2*1 = 3; B A x = (3, 0, 0, 9); twice that on top of x
    assert layer(torch.ones(4)).tolist() == [7.0, 1.0, 1.0, 19.0]


def test_a_fresh_adapter_changes_nothing_and_its_first_gradient_of_a_is_zero(model):
    before = logits(model)
    lora.apply_lora(model, CONFIG)
    assert torch.equal(logits(model), before)
    model(IDS, labels=torch.tensor([1])).loss.backward()
    for name, parameter in lora.trainable_parameters(model).items():
        assert ("lora_A" in name) == (parameter.grad.abs().max() == 0), name


def test_only_the_adapter_and_the_head_train(model):
    lora.apply_lora(model, CONFIG)
    names = lora.trainable_parameters(model)
    assert all("lora_" in name or "score.modules_to_save" in name for name in names)
    assert len(names) == 2 * 3 * 2 + 1  # two blocks, three layers each, A and B, and the head


def test_merging_and_unmerging_is_exact(model):
    adapted(model)
    weights = {name: t.clone() for name, t in model.state_dict().items()}
    before = logits(model)
    lora.merge_lora(model)
    assert not torch.equal(model.state_dict()[next(n for n in weights if "base_layer.weight" in n)],
                           weights[next(n for n in weights if "base_layer.weight" in n)])  # fmt: skip
    assert (logits(model) - before).abs().max() < 1e-5
    lora.unmerge_lora(model)
    assert all(torch.equal(t, weights[name]) for name, t in model.state_dict().items())


@pytest.mark.parametrize("merged", [False, True])
def test_disabled_the_model_is_the_base_model_exactly(model, merged):
    base = logits(model)
    adapted(model)
    if merged:
        lora.merge_lora(model)
    tuned = logits(model)
    with pytest.raises(RuntimeError), lora.disable_lora(model):
        assert torch.equal(logits(model), base)
        raise RuntimeError
    assert torch.equal(logits(model), tuned) and not torch.equal(tuned, base)


def test_removing_gives_the_base_back_as_it_was(model):
    before, flags = dict(model.state_dict()), {n: p.requires_grad for n, p in model.named_parameters()}
    lora.remove_lora(adapted(model))
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(model.state_dict()[name], t) for name, t in before.items())
    assert {n: p.requires_grad for n, p in model.named_parameters()} == flags


def test_several_adapters_switch_add_up_and_go(model):
    adapted(model, "one")
    adapted(model, "two")
    assert lora.active_adapters(model) == ["one"]
    one = logits(model)
    lora.set_adapter(model, ["one", "two"])
    assert not torch.equal(logits(model), one)
    lora.delete_adapter(model, "two")
    assert torch.equal(logits(model), one)


@pytest.mark.parametrize(
    ("change", "words"),
    [({"target_modules": ("c_atn",)}, "c_attn"), ({"target_modules": ("ln_1",)}, "LayerNorm"), ({"r": 0}, "r must")],
)
def test_a_wrong_target_or_rank_is_told_and_changes_nothing(model, change, words):
    keys = list(model.state_dict())
    with pytest.raises(lora.AdapterError, match=words):
        lora.apply_lora(model, lora.LoraConfig(**({"task_type": "SEQ_CLS"} | change)))
    assert list(model.state_dict()) == keys and all(p.requires_grad for p in model.parameters())


def test_a_saved_adapter_is_the_same_in_a_new_model_and_byte_for_byte(model, tiny_base, tmp_path):
    adapted(model)
    for name in ("a", "b"):
        lora.save_adapter(model, tmp_path / name)
    for file in ("adapter_model.safetensors", "adapter_config.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    fresh = lora.load_adapter(gpt2.GPT2ForSequenceClassification.from_pretrained(tiny_base), tmp_path / "a")
    assert torch.equal(logits(fresh), logits(model)) and not lora.trainable_parameters(fresh)


def spoil(tensors, how):
    key = next(name for name in tensors if name.endswith("lora_B.weight"))
    if how == "missing":
        del tensors[key]
    elif how == "extra":
        tensors["base_model.model.transformer.h.9.attn.c_attn.lora_A.weight"] = torch.zeros(4, 32)
    elif how == "transposed":
        tensors[key] = tensors[key].T.contiguous()
    elif how == "nan":
        tensors[key][0, 0] = float("nan")
    elif how == "no head":
        del tensors["base_model.model.score.weight"]


@pytest.mark.parametrize("how", ["missing", "extra", "transposed", "nan", "no head"])
def test_an_adapter_is_loaded_whole_or_not_at_all(model, tiny_base, tmp_path, how):
    lora.save_adapter(adapted(model), tmp_path)
    file = tmp_path / "adapter_model.safetensors"
    tensors = load_file(file)
    spoil(tensors, how)
    save_file(tensors, file)
    fresh = gpt2.GPT2ForSequenceClassification.from_pretrained(tiny_base)
    keys = list(fresh.state_dict())
    with pytest.raises(lora.AdapterError, match="adapter_model.safetensors"):
        lora.load_adapter(fresh, tmp_path)
    assert list(fresh.state_dict()) == keys and all(p.requires_grad for p in fresh.parameters())


@pytest.mark.parametrize(
    "asked", [{"use_dora": True}, {"bias": "all"}, {"rank_pattern": {"c_attn": 2}}, {"peft_type": "IA3"}]
)
def test_what_is_not_computed_is_refused_by_name(asked):
    with pytest.raises(lora.AdapterError, match=next(iter(asked))):
        lora.LoraConfig.from_dict(CONFIG.to_dict() | asked)


def test_the_count_at_gpt2_small_is_peft_s(capsys):
    with torch.device("meta"):
        model = gpt2.GPT2ForSequenceClassification(gpt2.GPT2Config())
        lora.apply_lora(model, lora.LoraConfig(lora_alpha=32, target_modules=("c_attn", "c_proj"), task_type="SEQ_CLS"))
    lora.print_trainable_parameters(model)
    line = "trainable params: 812,544 || all params: 125,253,888 || trainable%: 0.6487\n"
    assert capsys.readouterr().out == line

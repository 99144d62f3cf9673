"""Switching adapters, also while they are disabled: the base within the block, the new choice after it."""

import pytest
import torch

import gpt2
import lora

CONFIG = lora.LoraConfig(r=4, target_modules=("c_attn",), task_type="SEQ_CLS")
WIDER = lora.LoraConfig(r=2, target_modules=("c_attn", "c_proj"), task_type="SEQ_CLS")
IDS = torch.tensor([[5, 17, 80, 3, 42], [7, 7, 9, 1, 0]])


def randomise(model, name):
    generator = torch.Generator().manual_seed(len(name))
    with torch.no_grad():
        for path, parameter in model.named_parameters():
            if f".{name}." in f"{path}.":
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)


def logits(model):
    with torch.no_grad():
        return model(IDS).logits


@pytest.fixture
def model(tiny_base):
    """Two adapters on different layers, "one" active."""
    torch.manual_seed(3)
    model = gpt2.GPT2ForSequenceClassification.from_pretrained(tiny_base)
    for name, config in (("one", CONFIG), ("three", WIDER)):
        lora.apply_lora(model, config, name)
        randomise(model, name)
    return model


@pytest.fixture
def answers(model):
    """The logits with each choice of adapters."""
    found = {}
    for names in ([], ["three"], ["three", "one"], ["one"]):
        lora.set_adapter(model, names)
        found[tuple(names)] = logits(model)
    assert len({tuple(answer.flatten().tolist()) for answer in found.values()}) == 4
    return found


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("names", [("three",), ("three", "one"), ()])
def test_an_adapter_set_within_the_block_is_active_after_it_and_not_before(model, answers, names, merged):
    if merged:
        lora.merge_lora(model)
    with lora.disable_lora(model):
        assert torch.equal(logits(model), answers[()])
        lora.set_adapter(model, list(names))
        assert torch.equal(logits(model), answers[()]) and lora.active_adapters(model) == []
    torch.testing.assert_close(logits(model), answers[names], rtol=0, atol=1e-5 if merged else 0)
    assert lora.active_adapters(model) == list(names)
    trained = {name.rpartition(".weight")[0].rpartition(".")[2] for name in lora.trainable_parameters(model)}
    assert trained == set(names)


def test_blocks_within_each_other_end_with_the_outer_one(model, answers):
    with lora.disable_lora(model):
        with lora.disable_lora(model):
            lora.set_adapter(model, "three")
        assert torch.equal(logits(model), answers[()])
    assert torch.equal(logits(model), answers["three",])


def test_an_adapter_deleted_or_added_within_the_block_is_gone_or_there_after_it(model, answers):
    lora.set_adapter(model, ["three", "one"])
    with lora.disable_lora(model):
        lora.delete_adapter(model, "three")
        lora.apply_lora(model, WIDER, "new")
        assert torch.equal(logits(model), answers[()])
    assert lora.active_adapters(model) == ["one"]
    assert torch.equal(logits(model), answers["one",])
    lora.set_adapter(model, "new")


def test_lora_removed_within_the_block_stays_removed_and_can_come_back(model, answers):
    with lora.disable_lora(model):
        lora.remove_lora(model)
    assert torch.equal(logits(model), answers[()])
    with lora.disable_lora(model):
        lora.apply_lora(model, CONFIG, "one")
        randomise(model, "one")
        assert torch.equal(logits(model), answers[()])
    assert torch.equal(logits(model), answers["one",])


def test_an_adapter_named_twice_is_refused_and_nothing_is_switched(model):
    with pytest.raises(lora.AdapterError, match="'three' is named twice"):
        lora.set_adapter(model, ["three", "one", "three"])
    assert lora.active_adapters(model) == ["one"]

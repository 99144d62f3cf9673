"""LoRA on the language model, task_type CAUSAL_LM: steps, files both ways, and an embedding that is the head too."""

import json

import pytest
import torch
from safetensors.torch import load_file

import gpt2
import lora

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
pytest.importorskip("transformers", reason="needs pip install -r requirements-dev.txt")
peft = pytest.importorskip("peft", reason="needs pip install -r requirements-dev.txt")

from benchmarks.equality.comparisons import logits, moved  # noqa: E402
from benchmarks.equality.side_by_side import SMALL, our_model, random_batch, their_model, write_base  # noqa: E402

LM = "LMHeadModel"
COMMON = {"r": 4, "lora_alpha": 16, "lora_dropout": 0.1, "task_type": "CAUSAL_LM"}
RECIPES = {
    "blocks": {"target_modules": ["c_attn", "c_proj", "c_fc"]},
    "blocks, no dropout, rslora": {
        "target_modules": ["c_attn", "c_proj", "c_fc"],
        "lora_dropout": 0.0,
        "use_rslora": True,
    },
    "embedding and blocks": {"target_modules": ["wte", "c_attn", "c_proj", "c_fc"]},
    "embedding alone, nothing zero": {"target_modules": ["wte"], "init_lora_weights": False},
    "embedding and head": {"target_modules": ["wte", "lm_head"]},
    "a norm in full": {"target_modules": ["c_attn"], "modules_to_save": ["ln_f"]},
}
every_recipe = pytest.mark.parametrize("recipe", [COMMON | r for r in RECIPES.values()], ids=RECIPES)
BATCH = random_batch(SMALL, "right")
LABELS = BATCH["input_ids"].masked_fill(BATCH["attention_mask"] == 0, -100)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return write_base(tmp_path_factory.mktemp("base"))


def both(base, recipe):
    return [make(base, LM, recipe) for make in (their_model, our_model)]


@every_recipe
def test_a_training_step_draws_and_gives_the_same_bits(base, recipe):
    sides = []
    for model in both(base, recipe):
        moved(model).train()
        torch.manual_seed(9)
        loss = model(**BATCH, labels=LABELS).loss
        loss.backward()
        grads = [p.grad for p in model.parameters() if p.requires_grad]
        sides.append([loss.detach(), *grads, torch.get_rng_state()])
    assert len(sides[0]) == len(sides[1]) > 3
    assert all(torch.equal(theirs, ours) for theirs, ours in zip(*sides))


@pytest.mark.promise("P13")
@every_recipe
def test_the_files_are_the_same_and_each_reads_the_others(base, recipe, tmp_path):
    theirs, ours = (moved(model) for model in both(base, recipe))
    theirs.save_pretrained(tmp_path / "theirs")
    lora.save_adapter(ours, tmp_path / "ours")
    tensors, configs = [], []
    for which in ("theirs", "ours"):
        tensors.append(load_file(tmp_path / which / "adapter_model.safetensors"))
        configs.append(json.loads((tmp_path / which / "adapter_config.json").read_text()))
        configs[-1]["target_modules"].sort()  # peft writes a set, in any order
    assert configs[0] == configs[1] and configs[1]["task_type"] == "CAUSAL_LM"
    copies = {key for key in tensors[0] if key.endswith(".base_layer.weight")}  # written by peft beside an lm_head
    assert set(tensors[0]) - copies == set(tensors[1]) and bool(copies) == ("lm_head" in recipe["target_modules"])
    assert all(torch.equal(tensors[0][key], tensor) for key, tensor in tensors[1].items())
    expected = logits(theirs, BATCH)
    assert torch.equal(logits(ours, BATCH), expected)
    read_here = lora.load_adapter(our_model(base, LM, None), tmp_path / "theirs")
    read_there = peft.PeftModel.from_pretrained(their_model(base, LM, None), tmp_path / "ours")
    assert torch.equal(logits(read_here, BATCH), expected) and torch.equal(logits(read_there, BATCH), expected)


def test_without_a_word_no_head_is_trained_in_full(base):
    theirs, ours = both(base, COMMON | RECIPES["blocks"])
    assert theirs.peft_config["default"].modules_to_save is None is ours.peft_config["default"].modules_to_save
    assert theirs.get_nb_trainable_parameters() == lora.count_parameters(ours)


def test_merged_blocks_are_peft_s_and_the_head_is_still_the_embedding(base):
    theirs, ours = (moved(model) for model in both(base, COMMON | RECIPES["blocks"]))
    theirs, ours = theirs.merge_and_unload(), lora.merge_and_unload(ours)
    expected = theirs.state_dict()
    assert set(ours.state_dict()) == set(expected)
    assert all(torch.equal(t, expected[name]) for name, t in ours.state_dict().items())
    assert ours.lm_head.weight is ours.transformer.wte.weight


def test_lora_on_the_embedding_leaves_the_head_that_shares_its_weight_as_it_was(base):
    """Forward: the head multiplies with the base's rows. Backward: A learns of tokens that were read, not of all."""
    for model in both(base, COMMON | RECIPES["embedding alone, nothing zero"]):
        inner = model.base_model.model if isinstance(model, peft.PeftModel) else model
        rows = gpt2.GPT2LMHeadModel.from_pretrained(base).transformer.wte.weight
        taken = []
        inner.lm_head.register_forward_hook(lambda head, inputs, output: taken.append((inputs[0], output)))  # noqa: B023
        model(**BATCH, labels=LABELS).loss.backward()
        hidden, scores = taken[0]
        assert torch.equal(scores, hidden @ rows.T)
        learned = inner.transformer.wte.lora_embedding_A["default"].grad.abs().sum(0).nonzero().flatten()
        read = BATCH["input_ids"][:, :-1][LABELS[:, 1:] != -100]  # a row's last token foretells nothing
        assert set(learned.tolist()) == set(read.tolist())

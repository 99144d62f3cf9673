"""Adapter files that are special: what they say of themselves, and LoRA on an lm_head that is tied to the embedding."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

import lora

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
pytest.importorskip("transformers", reason="needs pip install -r requirements-dev.txt")
peft = pytest.importorskip("peft", reason="needs pip install -r requirements-dev.txt")

from benchmarks.equality.comparisons import RECIPES, logits, moved  # noqa: E402
from benchmarks.equality.side_by_side import SMALL, our_model, random_batch, their_model, write_base  # noqa: E402

BATCH = random_batch(SMALL, "right")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return write_base(tmp_path_factory.mktemp("base"))


@pytest.fixture
def saved(base, tmp_path):
    """saved(name): their model and ours with the recipe of that name, saved below "theirs" and "ours"."""

    def save(name):
        recipe = RECIPES[name] | {"task_type": "CAUSAL_LM"}
        theirs, ours = (moved(make(base, "LMHeadModel", recipe)) for make in (their_model, our_model))
        theirs.save_pretrained(tmp_path / "theirs")
        lora.save_adapter(ours, tmp_path / "ours")
        return theirs, ours

    return save


@pytest.mark.promise("P13")
def test_the_files_say_the_same_of_themselves(saved, tmp_path):
    saved("the notebook's LoRA")
    said = []
    for which in ("theirs", "ours"):
        with safe_open(tmp_path / which / "adapter_model.safetensors", "pt") as file:
            said.append((file.metadata(), {key: file.get_slice(key).get_dtype() for key in file.keys()}))  # noqa: SIM118
    assert said[0] == said[1] and said[0][0] == {"format": "pt"}


@pytest.mark.promise("P13")
def test_lora_on_lm_head_is_read_both_ways_though_peft_s_file_holds_the_frozen_weight_too(base, saved, tmp_path):
    theirs, ours = saved("LoRA on lm_head and c_attn")
    files = [load_file(tmp_path / which / "adapter_model.safetensors") for which in ("theirs", "ours")]
    assert set(files[0]) - set(files[1]) == {"base_model.model.lm_head.base_layer.weight"}
    assert all(torch.equal(files[0][key], tensor) for key, tensor in files[1].items())
    here = lora.load_adapter(our_model(base, "LMHeadModel", None), tmp_path / "theirs")
    there = peft.PeftModel.from_pretrained(their_model(base, "LMHeadModel", None), tmp_path / "ours")
    assert torch.equal(logits(here, BATCH), logits(theirs, BATCH))
    assert torch.equal(logits(there, BATCH), logits(ours, BATCH))


def test_the_frozen_weight_of_another_base_in_peft_s_file_is_refused(base, saved, tmp_path):
    saved("LoRA on lm_head and c_attn")
    other = our_model(base, "LMHeadModel", None)
    with torch.no_grad():
        other.lm_head.weight[7, 7] += 1
    with pytest.raises(lora.AdapterError, match="another base model"):
        lora.load_adapter(other, tmp_path / "theirs")
    assert not hasattr(other, "peft_config")

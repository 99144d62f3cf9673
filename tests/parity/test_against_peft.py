"""Logits against transformers at three sizes, adapters to peft and back, and one training step bit for bit."""

import warnings

import pytest
import torch

import gpt2
import lora

pytestmark = pytest.mark.filterwarnings("ignore")
reason = "pip install -r requirements-dev.txt to compare with transformers and peft"
transformers = pytest.importorskip("transformers", reason=reason)
peft = pytest.importorskip("peft", reason=reason)

SIZES = {"small": (2, 32, 2, 300), "medium": (4, 256, 4, 4096), "124M": (12, 768, 12, 50257)}
RECIPE = {"r": 8, "lora_alpha": 32, "lora_dropout": 0.1, "target_modules": ["c_attn", "c_proj"], "task_type": "SEQ_CLS"}


def reference(directory, size="small"):
    """A random GPT-2 classifier written by transformers, read by both."""
    n_layer, n_embd, n_head, vocab = SIZES[size]
    config = transformers.GPT2Config(
        n_layer=n_layer, n_embd=n_embd, n_head=n_head, vocab_size=vocab, n_positions=128,
        pad_token_id=vocab - 1, bos_token_id=vocab - 1, eos_token_id=vocab - 1,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.GPT2ForSequenceClassification(config).save_pretrained(directory)
    return both(directory)


def both(directory):
    theirs = transformers.GPT2ForSequenceClassification.from_pretrained(directory).eval()
    theirs.config.use_cache = False  # as Trainer sets it
    return theirs, gpt2.GPT2ForSequenceClassification.from_pretrained(directory)


def rows(vocab):
    ids = torch.randint(0, vocab - 1, (3, 20), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, 7:], mask[2, 15:] = 0, 0
    return ids.masked_fill(mask == 0, vocab - 1), mask


def randomise_b(model):
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)


@pytest.mark.parametrize("size", SIZES)
def test_logits_equal_those_of_transformers_padded_and_not(tmp_path, size):
    theirs, ours = reference(tmp_path, size)
    ids, mask = rows(SIZES[size][3])
    with torch.no_grad():
        assert (theirs(ids, attention_mask=mask).logits - ours(ids, mask).logits).abs().max() <= 1e-5
        assert (theirs(ids[:1]).logits - ours(ids[:1]).logits).abs().max() <= 1e-5


def test_the_same_seed_draws_the_same_adapter_and_leaves_the_same_random_state(tmp_path):
    theirs, ours = reference(tmp_path)
    torch.manual_seed(5)
    theirs = peft.get_peft_model(theirs, peft.LoraConfig(**RECIPE))
    state = torch.get_rng_state()
    torch.manual_seed(5)
    lora.apply_lora(ours, lora.LoraConfig(**RECIPE))
    assert torch.equal(state, torch.get_rng_state())
    expected = peft.get_peft_model_state_dict(theirs)
    found = lora.lora_state_dict(ours)
    assert set(expected) == set(found)
    assert all(torch.equal(expected[key], found[key]) for key in expected)
    assert theirs.get_nb_trainable_parameters() == lora.count_parameters(ours)


def test_a_training_step_with_dropout_gives_the_same_bits(tmp_path):
    theirs, ours = reference(tmp_path)
    torch.manual_seed(5)
    theirs = peft.get_peft_model(theirs, peft.LoraConfig(**RECIPE)).train()
    torch.manual_seed(5)
    lora.apply_lora(ours.train(), lora.LoraConfig(**RECIPE))
    for model in (theirs, ours):
        torch.manual_seed(6)
        randomise_b(model)
    ids, mask = rows(300)
    labels = torch.tensor([0, 1, 1])
    torch.manual_seed(7)
    a = theirs(ids, attention_mask=mask, labels=labels).loss
    torch.manual_seed(7)
    b = ours(ids, mask, labels=labels).loss
    assert torch.equal(a, b)
    a.backward(), b.backward()
    gradients = [[p.grad for p in model.parameters() if p.requires_grad] for model in (theirs, ours)]
    assert all(torch.equal(x, y) for x, y in zip(*gradients))


def test_peft_reads_our_adapter_without_a_warning_and_we_read_peft_s(tmp_path):
    theirs, ours = reference(tmp_path / "base")
    torch.manual_seed(5)
    lora.apply_lora(ours, lora.LoraConfig(**RECIPE))
    randomise_b(ours)
    lora.save_adapter(ours, tmp_path / "ours")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # transformers warns of itself in other classes
        read = peft.PeftModel.from_pretrained(theirs, tmp_path / "ours").eval()
    ids, mask = rows(300)
    with torch.no_grad():
        expected = ours(ids, mask).logits
        assert (read(ids, attention_mask=mask).logits - expected).abs().max() <= 1e-5
        read.save_pretrained(tmp_path / "theirs")
        back = lora.load_adapter(both(tmp_path / "base")[1], tmp_path / "theirs")
        assert (back(ids, mask).logits - expected).abs().max() <= 1e-5
    assert all(not parameter.requires_grad for parameter in back.parameters())


def test_the_config_file_has_peft_s_keys_and_values(tmp_path):
    import json

    theirs, ours = reference(tmp_path / "base")
    lora.save_adapter(lora.apply_lora(ours, lora.LoraConfig(**RECIPE)), tmp_path / "ours")
    peft.get_peft_model(theirs, peft.LoraConfig(**RECIPE)).save_pretrained(tmp_path / "theirs")
    mine, reference_values = (
        json.loads((tmp_path / name / "adapter_config.json").read_text()) for name in ("ours", "theirs")
    )
    for values in (mine, reference_values):
        values["target_modules"] = sorted(values["target_modules"])
        values["modules_to_save"] = sorted(set(values["modules_to_save"]))
    assert mine == reference_values


def test_a_merged_model_loads_in_transformers(tmp_path):
    _, ours = reference(tmp_path / "base")
    lora.apply_lora(ours, lora.LoraConfig(**RECIPE))
    randomise_b(ours)
    ids, mask = rows(300)
    with torch.no_grad():
        expected = ours(ids, mask).logits
        lora.merge_and_unload(ours).save_pretrained(tmp_path / "merged")
        theirs, _ = both(tmp_path / "merged")
        assert (theirs(ids, attention_mask=mask).logits - expected).abs().max() <= 1e-5

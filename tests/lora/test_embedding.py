"""LoRA on an embedding: it begins as the base, learns of seen tokens alone, merges, and goes through a file."""

import pytest
import torch

import gpt2
import lora
from lora import AdapterError, LoraConfig

CONFIG = LoraConfig(r=4, lora_alpha=8, target_modules=("wte",), task_type="SEQ_CLS")
IDS = torch.tensor([[5, 6, 7, 5], [8, 9, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])


def classifier(seed: int = 0) -> gpt2.GPT2ForSequenceClassification:
    torch.manual_seed(seed)
    config = gpt2.GPT2Config(
        vocab_size=40, n_positions=16, n_embd=16, n_layer=2, n_head=2, attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0
    )
    return gpt2.GPT2ForSequenceClassification(config)


def adapted(moved: bool = True):
    model = lora.apply_lora(classifier(), CONFIG)
    if moved:
        with torch.no_grad():
            for parameter in lora.trainable_parameters(model).values():
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.1)
    return model


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(IDS, MASK).logits


def test_it_begins_as_the_layer_it_wraps_and_ends_as_it_when_removed():
    base = logits(classifier())
    assert torch.equal(logits(adapted(moved=False)), base)
    model = adapted()
    assert not torch.equal(logits(model), base)
    with lora.disable_lora(model):
        assert torch.equal(logits(model), base)
    assert torch.equal(logits(lora.remove_lora(model)), base)


def test_a_step_moves_only_what_belongs_to_tokens_it_has_seen():
    model = adapted(moved=False)
    model(IDS, MASK, labels=torch.tensor([0, 1])).loss.backward()
    moved = model.transformer.wte.lora_embedding_A["default"].grad.abs().sum(0).nonzero().flatten().tolist()
    assert moved == [5, 6, 7, 8, 9]  # padding, token 0, is looked up and masked


def test_merging_changes_the_rows_and_not_the_answers_and_unmerging_gives_the_bits_back():
    model = adapted()
    tuned, rows = logits(model), model.transformer.wte.weight.clone()
    lora.merge_lora(model)
    assert (logits(model) - tuned).abs().max() < 1e-5 and not torch.equal(model.transformer.wte.weight, rows)
    lora.unmerge_lora(model)
    assert torch.equal(logits(model), tuned) and torch.equal(model.transformer.wte.weight, rows)
    merged = lora.merge_and_unload(model)
    assert type(merged.transformer.wte) is torch.nn.Embedding and (logits(merged) - tuned).abs().max() < 1e-5


def test_a_language_model_whose_head_is_the_embedding_is_not_merged():
    config = gpt2.GPT2Config(vocab_size=40, n_positions=16, n_embd=16, n_layer=1, n_head=2)
    model = lora.apply_lora(gpt2.GPT2LMHeadModel(config), LoraConfig(target_modules=("wte",)))
    with pytest.raises(AdapterError, match="shares its weight with lm_head"):
        lora.merge_lora(model)


def test_it_goes_through_a_file_and_a_file_of_another_rank_or_vocabulary_is_refused(tmp_path):
    model = adapted()
    lora.save_adapter(model, tmp_path)
    assert torch.equal(logits(lora.load_adapter(classifier(), tmp_path)), logits(model))
    written = (tmp_path / "adapter_config.json").read_text()
    (tmp_path / "adapter_config.json").write_text(written.replace('"r": 4', '"r": 3'))
    with pytest.raises(AdapterError, match="rank 4, but adapter_config.json says r=3"):
        lora.load_adapter(classifier(), tmp_path)
    (tmp_path / "adapter_config.json").write_text(written)
    larger = gpt2.GPT2ForSequenceClassification(gpt2.GPT2Config(vocab_size=50, n_embd=16, n_layer=2, n_head=2))
    with pytest.raises(AdapterError, match="was it made for another base model"):
        lora.load_adapter(larger, tmp_path)


def test_the_fast_form_gives_the_same_values_and_gradients():
    def pass_through(fast: bool) -> list[torch.Tensor]:
        model = adapted()
        if fast:
            gpt2.use_fast(model), lora.use_fast(model)
        out = model(IDS, MASK).logits
        torch.nn.functional.cross_entropy(out, torch.tensor([0, 1])).backward()
        return [out.detach(), *(p.grad for p in lora.trainable_parameters(model).values())]

    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(pass_through(True), pass_through(False)))

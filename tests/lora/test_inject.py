"""LoRA put into a whole model and taken out again: what trains, what stays untouched, switching and merging."""

import pytest
import torch

import gpt2
from lora import (
    AdapterError,
    LoraConfig,
    active_adapters,
    apply_lora,
    delete_adapter,
    disable_lora,
    merge_and_unload,
    merge_lora,
    print_trainable_parameters,
    remove_lora,
    set_adapter,
    trainable_parameters,
    unmerge_lora,
)

CONFIG = LoraConfig(r=4, lora_alpha=8, target_modules=("c_attn", "c_proj"), task_type="SEQ_CLS")
IDS = torch.tensor([[5, 17, 80, 3, 42], [7, 7, 9, 1, 0]])
LABELS = torch.tensor([1, 0])


@pytest.fixture
def base(tiny_base):
    torch.manual_seed(3)
    return gpt2.GPT2ForSequenceClassification.from_pretrained(tiny_base)


def tuned(model, name="default", config=CONFIG, seed=1):
    """`model` with an adapter `name` that is away from zero everywhere, its head included."""
    apply_lora(model, config, name)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for path, parameter in model.named_parameters():
            if f".{name}." in f"{path}.":
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model


def logits(model):
    with torch.no_grad():
        return model(IDS).logits


def snapshot(model):
    """Types, weights, flags and modes, as one comparable value."""
    return (
        {name: type(m) for name, m in model.named_modules()},
        {name: t.clone().numpy().tobytes() for name, t in model.state_dict().items()},
        {name: p.requires_grad for name, p in model.named_parameters()},
        {name: m.training for name, m in model.named_modules()},
        hasattr(model, "peft_config"),
        torch.get_rng_state().numpy().tobytes(),
    )


def test_a_fresh_adapter_changes_no_logit(base):
    before = logits(base)
    assert torch.equal(logits(apply_lora(base, CONFIG)), before)


def test_the_adapter_and_the_head_train_and_nothing_else_does(base):
    apply_lora(base, CONFIG)
    for name, parameter in base.named_parameters():
        trains = ".lora_A." in name or ".lora_B." in name or name == "score.modules_to_save.default.weight"
        assert parameter.requires_grad == trains, name
    assert len(trainable_parameters(base)) == 2 * 3 * 2 + 1


def test_training_moves_the_adapter_and_leaves_the_base_to_the_bit(base):
    apply_lora(base, CONFIG).train()
    before = {name: p.detach().clone() for name, p in base.named_parameters()}
    optimizer = torch.optim.AdamW(trainable_parameters(base).values(), lr=0.01, weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        base(IDS, labels=LABELS).loss.backward()
        optimizer.step()
    for name, parameter in base.named_parameters():
        assert torch.equal(parameter, before[name]) != parameter.requires_grad, name
        assert (parameter.grad is None) != parameter.requires_grad, name


def test_an_ending_matches_every_layer_of_that_name_and_a_part_of_a_word_does_not(base):
    apply_lora(base, LoraConfig(target_modules=("c_proj",)))
    wrapped = {n for n, m in base.named_modules() if type(m).__name__ == "LoraLayer"}
    assert wrapped == {f"transformer.h.{i}.{kind}.c_proj" for i in (0, 1) for kind in ("attn", "mlp")}
    with pytest.raises(AdapterError, match="'proj'"):
        apply_lora(base, LoraConfig(target_modules=("proj",)), "other")


def test_a_longer_ending_or_a_whole_name_picks_single_layers(base):
    apply_lora(base, LoraConfig(target_modules=("mlp.c_proj", "transformer.h.0.attn.c_attn")))
    wrapped = {n for n, m in base.named_modules() if type(m).__name__ == "LoraLayer"}
    assert wrapped == {"transformer.h.0.mlp.c_proj", "transformer.h.1.mlp.c_proj", "transformer.h.0.attn.c_attn"}


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (LoraConfig(target_modules=("c_atn",)), ["c_atn", "c_attn"]),
        (LoraConfig(target_modules=("c_attn", "q_proj")), ["q_proj", "c_proj"]),
        (LoraConfig(target_modules=("ln_1",)), ["ln_1", "LayerNorm"]),
        (LoraConfig(target_modules=("attn",)), ["attn", "GPT2Attention"]),
        (LoraConfig(modules_to_save=("scores",)), ["scores", "score"]),
    ],
)
def test_a_target_that_cannot_be_adapted_is_told_and_nothing_is_changed(base, config, words):
    before = snapshot(base)
    with pytest.raises(AdapterError) as caught:
        apply_lora(base, config)
    assert all(word in str(caught.value) for word in words) and "\n" not in str(caught.value)
    assert snapshot(base) == before


def test_a_classifiers_config_on_a_model_without_a_head_is_refused(tiny_base):
    model = gpt2.GPT2LMHeadModel.from_pretrained(tiny_base)
    before = snapshot(model)
    with pytest.raises(AdapterError, match="score"):
        apply_lora(model, CONFIG)
    assert snapshot(model) == before


@pytest.mark.parametrize("name", ["", "a.b"])
def test_a_name_that_cannot_be_part_of_a_parameters_name_is_refused(base, name):
    with pytest.raises(AdapterError, match="name"):
        apply_lora(base, CONFIG, name)


def test_the_same_name_twice_is_refused(base):
    apply_lora(base, CONFIG)
    before = snapshot(base)
    with pytest.raises(AdapterError, match="default"):
        apply_lora(base, CONFIG)
    assert snapshot(base) == before


@pytest.mark.parametrize("training", [False, True])
def test_an_adapter_takes_over_the_mode_of_the_model(base, training):
    config = LoraConfig(lora_dropout=0.5, target_modules=("c_attn",), task_type="SEQ_CLS")
    apply_lora(base.train(training), config)
    apply_lora(base, config, "second")
    assert {m.training for m in base.modules()} == {training}


def test_remove_brings_back_every_module_weight_and_flag(base):
    base.transformer.wpe.weight.requires_grad_(False)  # a flag of the user's own
    before = snapshot(base)[:5]
    output = logits(base)
    remove_lora(tuned(base))
    assert snapshot(base)[:5] == before
    assert torch.equal(logits(base), output)


def test_remove_works_while_merged_and_with_two_adapters(base):
    before = snapshot(base)[:5]
    tuned(tuned(base, "one"), "two", seed=2)
    set_adapter(base, ["one", "two"])
    merge_lora(base)
    remove_lora(base)
    assert snapshot(base)[:5] == before


def test_remove_after_delete_and_a_new_adapter_still_restores_the_flags(base):
    before = snapshot(base)[:5]
    delete_adapter(tuned(base, "one"), "one")
    remove_lora(tuned(base, "two"))
    assert snapshot(base)[:5] == before


@pytest.mark.parametrize("undo", [remove_lora, merge_and_unload])
def test_undoing_what_was_never_done_leaves_a_plain_model_alone(base, undo):
    before = snapshot(base)
    try:
        undo(base)
    except AdapterError:
        pass  # saying so would be as good
    assert snapshot(base) == before


def test_merge_changes_the_weights_not_the_logits_and_unmerge_undoes_it_to_the_bit(base):
    tuned(base)
    before, output = snapshot(base), logits(base)
    merge_lora(base)
    assert snapshot(base)[1] != before[1]
    torch.testing.assert_close(logits(base), output, rtol=0, atol=1e-6)
    unmerge_lora(base)
    assert snapshot(base) == before
    assert torch.equal(logits(base), output)


def test_merge_fails_for_all_layers_or_none(base):
    tuned(base)
    with torch.no_grad():
        base.transformer.h[1].mlp.c_proj.lora_B["default"].weight[0, 0] = float("inf")  # the last layer of all
    before = snapshot(base)
    with pytest.raises(AdapterError, match="finite"):
        merge_lora(base)
    assert snapshot(base) == before


def test_merging_that_is_interrupted_is_undone(base, monkeypatch):
    tuned(base)
    before = snapshot(base)
    finite, calls = torch.isfinite, iter([False, False])
    monkeypatch.setattr(torch, "isfinite", lambda t: finite(t) if next(calls, None) is False else interrupt())

    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        merge_lora(base)
    assert snapshot(base) == before


def test_lm_head_is_not_merged_into_the_weight_that_the_embedding_shares_with_it(tiny_base):
    model = gpt2.GPT2LMHeadModel.from_pretrained(tiny_base)
    apply_lora(model, LoraConfig(target_modules=("c_attn", "lm_head"), init_lora_weights=False))
    embedding, tuned = model.transformer.wte.weight.clone(), logits(model)
    with pytest.raises(AdapterError, match="lm_head shares its weight with transformer.wte"):
        merge_lora(model)
    assert torch.equal(model.transformer.wte.weight, embedding) and torch.equal(logits(model), tuned)


def test_merge_and_unload_gives_a_plain_model_with_the_tuned_logits_and_head(base):
    types = snapshot(base)[0]
    output = logits(tuned(base))
    head = base.score.modules_to_save["default"].weight.clone()
    model = merge_and_unload(base)
    assert snapshot(model)[0] == types and not hasattr(model, "peft_config")
    assert torch.equal(model.score.weight, head)
    torch.testing.assert_close(logits(model), output, rtol=0, atol=1e-6)


def test_merging_a_bfloat16_base_stays_close_and_comes_apart_to_the_bit(tiny_base):
    model = tuned(gpt2.GPT2ForSequenceClassification.from_pretrained(tiny_base, dtype=torch.bfloat16))
    output = logits(model)
    weights = {name: t.clone() for name, t in model.state_dict().items()}
    merge_lora(model)
    torch.testing.assert_close(logits(model).float(), output.float(), rtol=0.05, atol=0.05)
    unmerge_lora(model)
    assert all(torch.equal(t, weights[name]) for name, t in model.state_dict().items())
    assert torch.equal(logits(model), output)


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("raises", [False, True])
def test_disabled_the_model_is_the_base_and_afterwards_it_is_tuned_again(base, merged, raises):
    plain = logits(base)
    tuned(base)
    if merged:
        merge_lora(base)
    before, output = snapshot(base), logits(base)
    try:
        with disable_lora(base):
            assert torch.equal(logits(base), plain)
            if raises:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert snapshot(base) == before
    assert torch.equal(logits(base), output) and not torch.equal(output, plain)


@pytest.mark.parametrize(
    ("lm", "config", "line"),
    [
        (False, CONFIG, "trainable params: 407,040 || all params: 124,848,384 || trainable%: 0.3260"),
        (
            False,
            LoraConfig(r=8, target_modules=("c_attn", "c_proj"), task_type="SEQ_CLS"),
            "trainable params: 812,544 || all params: 125,253,888 || trainable%: 0.6487",
        ),
        (True, LoraConfig(r=8), "trainable params: 294,912 || all params: 124,734,720 || trainable%: 0.2364"),
    ],
)
def test_the_counts_of_gpt2_small_are_printed_as_peft_prints_them(capsys, lm, config, line):
    with torch.device("meta"):
        cls = gpt2.GPT2LMHeadModel if lm else gpt2.GPT2ForSequenceClassification
        print_trainable_parameters(apply_lora(cls(gpt2.GPT2Config()), config))
    assert capsys.readouterr().out == line + "\n"


def test_the_list_of_active_adapters_starts_empty_and_is_a_copy(base):
    assert active_adapters(base) == []
    apply_lora(base, CONFIG)
    active_adapters(base).append("other")
    assert active_adapters(base) == ["default"]

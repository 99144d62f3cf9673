"""The forward pass as a user sees it: padding, pooling, losses, positions, initialisation."""

import pytest
import torch
import torch.nn.functional as F

import gpt2

CONFIG = gpt2.GPT2Config(vocab_size=101, n_positions=16, n_embd=32, n_layer=2, n_head=4, eos_token_id=0, num_labels=3)
ROW = torch.tensor([[5, 17, 80, 3, 42]])


def built(cls, seed=0):
    """A model of class `cls` in eval mode with no parameter left at zero or one."""
    torch.manual_seed(seed)
    model = cls(CONFIG).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


@pytest.fixture(scope="module")
def classifier():
    return built(gpt2.GPT2ForSequenceClassification)


@pytest.fixture(scope="module")
def language_model():
    return built(gpt2.GPT2LMHeadModel)


def padded(ids, length, pad=0):
    """`ids` (1, T) filled up to the right, and the mask that says so."""
    extra = length - ids.shape[1]
    return F.pad(ids, (0, extra), value=pad), F.pad(torch.ones_like(ids), (0, extra))


def test_a_right_padded_row_gets_the_logits_of_the_row_alone(classifier):
    ids, mask = padded(ROW, 9)
    torch.testing.assert_close(classifier(ids, mask).logits, classifier(ROW).logits, rtol=0, atol=1e-6)


def test_a_row_is_not_touched_by_its_neighbours_in_the_batch(classifier):
    ids, mask = padded(ROW, 9)
    other = torch.randint(0, 101, (1, 9), generator=torch.Generator().manual_seed(1))
    batch = classifier(torch.cat([other, ids]), torch.cat([torch.ones_like(other), mask])).logits
    torch.testing.assert_close(batch[1:], classifier(ROW).logits, rtol=0, atol=1e-6)
    torch.testing.assert_close(batch[:1], classifier(other).logits, rtol=0, atol=1e-6)


@pytest.mark.parametrize("length", [6, 8, 11, 16])
@pytest.mark.parametrize("pad", [0, 7])
def test_neither_the_amount_nor_the_id_of_padding_matters(classifier, length, pad):
    ids, mask = padded(ROW, length, pad)
    torch.testing.assert_close(classifier(ids, mask).logits, classifier(ROW).logits, rtol=0, atol=1e-6)


def test_a_text_that_ends_in_the_pad_token_is_read_at_its_last_token(classifier):
    text = torch.tensor([[5, 17, 0, 80, 0]])  # 0 pads and is also a real end of text
    ids, mask = padded(text, 8)
    got = classifier(ids, mask)
    torch.testing.assert_close(got.logits, classifier(text).logits, rtol=0, atol=1e-6)
    torch.testing.assert_close(got.logits, classifier.score(got.last_hidden_state[:, 4]), rtol=0, atol=1e-6)
    assert not torch.allclose(got.logits, classifier(text[:, :4]).logits, atol=1e-3)


def test_without_a_mask_the_last_column_is_scored(classifier):
    got = classifier(torch.cat([ROW, ROW.flip(1)]))
    torch.testing.assert_close(got.logits, classifier.score(got.last_hidden_state[:, -1]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.bool, torch.float32])
def test_a_mask_of_any_dtype_is_understood(classifier, dtype):
    ids, mask = padded(ROW, 8)
    assert torch.equal(classifier(ids, mask.to(dtype)).logits, classifier(ids, mask).logits)


def test_a_row_of_padding_alone_gives_finite_logits_and_leaves_the_others_alone(classifier):
    ids, mask = padded(ROW, 8)
    got = classifier(torch.cat([ids, torch.zeros_like(ids)]), torch.cat([mask, torch.zeros_like(mask)])).logits
    assert got.isfinite().all()
    torch.testing.assert_close(got[:1], classifier(ROW).logits, rtol=0, atol=1e-6)


def test_a_left_padded_row_with_its_positions_given_equals_the_row_alone(classifier):
    ids, mask = F.pad(ROW, (3, 0)), F.pad(torch.ones_like(ROW), (3, 0))
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    got = classifier(ids, mask, positions).logits
    torch.testing.assert_close(got, classifier(ROW).logits, rtol=0, atol=1e-6)
    assert not torch.allclose(classifier(ids, mask).logits, classifier(ROW).logits, atol=1e-3)


def test_a_later_token_does_not_change_what_came_before(language_model):
    changed = ROW.clone()
    changed[0, 3] = 99
    before, after = language_model(ROW).logits, language_model(changed).logits
    assert torch.equal(before[:, :3], after[:, :3])
    assert not torch.allclose(before[:, 3:], after[:, 3:], atol=1e-3)


def test_every_position_up_to_the_limit_works_and_one_more_is_an_error(classifier):
    assert classifier(torch.ones(1, 16, dtype=torch.long)).logits.shape == (1, 3)
    with pytest.raises(ValueError, match=r"17 tokens.*16 positions"):
        classifier(torch.ones(1, 17, dtype=torch.long))


def test_lm_loss_predicts_the_next_token_and_leaves_out_minus_100(language_model):
    labels = torch.tensor([[5, -100, 80, 3, -100]])
    got = language_model(ROW, labels=labels)
    nats = -got.logits[0].log_softmax(-1)
    by_hand = (nats[1, 80] + nats[2, 3]) / 2  # position t is asked for token t + 1
    torch.testing.assert_close(got.loss, by_hand)


def test_the_sum_of_an_lm_loss_is_the_mean_times_the_targets_and_zero_where_there_are_none(language_model):
    labels = torch.tensor([[5, -100, 80, 3, -100]])
    mean, total = (language_model(ROW, labels=labels, reduction=how).loss for how in ("mean", "sum"))
    torch.testing.assert_close(total, 2 * mean)
    assert total.dtype == torch.float32
    assert language_model(ROW, labels=torch.full_like(ROW, -100), reduction="sum").loss == 0


def test_classifier_loss_is_the_mean_cross_entropy_in_nats(classifier):
    got = classifier(torch.cat([ROW, ROW.flip(1)]), labels=torch.tensor([2, 0]))
    nats = -got.logits.log_softmax(-1)
    torch.testing.assert_close(got.loss, (nats[0, 2] + nats[1, 0]) / 2)


def test_without_labels_there_is_no_loss_and_the_bare_model_has_no_logits(language_model, classifier):
    assert language_model(ROW).loss is None and classifier(ROW).loss is None
    bare = language_model.transformer(ROW)
    assert bare.logits is None and bare.last_hidden_state.shape == (1, 5, 32)


def test_the_language_models_head_is_the_embedding_itself(language_model):
    assert language_model.lm_head.weight is language_model.transformer.wte.weight
    assert "lm_head.weight" not in dict(language_model.named_parameters())


def test_gelu_is_the_tanh_form_not_the_exact_one():
    x = torch.linspace(-4, 4, 101)
    model = gpt2.model.gelu_new(x)
    torch.testing.assert_close(model, F.gelu(x, approximate="tanh"), rtol=0, atol=1e-6)
    assert (model - F.gelu(x)).abs().max() > 1e-4


def test_dropout_is_live_in_training_and_off_in_eval():
    model = built(gpt2.GPT2ForSequenceClassification)
    assert torch.equal(model(ROW).logits, model(ROW).logits)
    model.train()
    assert not torch.equal(model(ROW).logits, model(ROW).logits)


def test_the_same_seed_builds_the_same_model_and_another_seed_another():
    assert all(torch.equal(a, b) for a, b in zip(*(drawn(3).values() for _ in range(2))))
    assert not torch.equal(drawn(3)["transformer.wte.weight"], drawn(4)["transformer.wte.weight"])


def drawn(seed):
    torch.manual_seed(seed)
    return gpt2.GPT2LMHeadModel(CONFIG).state_dict()


def test_weights_start_at_gpt2s_spread_smaller_where_they_write_into_the_residual_stream():
    torch.manual_seed(0)
    model = gpt2.GPT2Model(gpt2.GPT2Config(vocab_size=500, n_positions=64, n_embd=128, n_layer=8, n_head=4))
    assert model.h[0].attn.c_attn.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert model.wte.weight.std().item() == pytest.approx(0.02, rel=0.05)
    for block in model.h:
        for layer in (block.attn.c_proj, block.mlp.c_proj):
            assert layer.weight.std().item() == pytest.approx(0.02 / 4, rel=0.05)  # sqrt(2 * 8 blocks) = 4
            assert not layer.bias.any()


def test_the_default_config_is_gpt2_small_with_124_million_parameters():
    with torch.device("meta"):
        model = gpt2.GPT2LMHeadModel(gpt2.GPT2Config())
    assert sum(p.numel() for p in model.parameters()) == 124_439_808


@pytest.mark.parametrize("labels", [{"num_labels": 1}, {"id2label": {0: "spam"}}])
def test_a_classifier_of_one_label_is_refused(tiny_base, labels):
    with pytest.raises(gpt2.CheckpointError, match="num_labels is 1; a classifier needs at least two labels"):
        gpt2.GPT2ForSequenceClassification.from_pretrained(tiny_base, **labels)
    assert gpt2.GPT2LMHeadModel.from_pretrained(tiny_base, **labels).config.num_labels == 1  # it has no use for them

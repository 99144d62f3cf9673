"""The fast classifier on its own: what it computes and what it leaves out, which batches it hands to the plain form."""

import copy
import json

import pytest
import torch

import gpt2
from gpt2.fast import right_padded_lengths
from gpt2.packed_attention import GROUP, GroupedAttention
from gpt2.packing import PackedRows

CONFIG = gpt2.GPT2Config(vocab_size=101, n_positions=16, n_embd=32, n_layer=3, n_head=4, eos_token_id=0, num_labels=3)


@pytest.fixture
def plain():
    torch.manual_seed(0)
    model = gpt2.GPT2ForSequenceClassification(CONFIG).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


@pytest.fixture
def fast(plain):
    model = copy.deepcopy(plain)
    gpt2.use_fast(model)
    return model


def batch(lengths, T):
    ids = torch.randint(1, 101, (len(lengths), T), generator=torch.Generator().manual_seed(1))
    return ids, (torch.arange(T) < torch.tensor(lengths)[:, None]).long()


def positions_seen(module):
    """A list that grows by the number of positions in each input of `module`."""
    seen = []
    module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].numel() // inputs[0].shape[-1]))
    return seen


def test_only_real_tokens_are_computed_and_at_the_end_only_the_scored_ones(fast):
    ids, mask = batch([16, 2, 5, 1], 16)
    seen = {name: positions_seen(fast.get_submodule(f"transformer.{name}")) for name in
            ("h.0.mlp", "h.1.attn.c_attn", "h.2.attn.c_attn", "h.2.attn.c_proj", "h.2.mlp", "ln_f")}  # fmt: skip
    fast(ids, mask)
    assert {name: counts for name, counts in seen.items()} == {
        "h.0.mlp": [24], "h.1.attn.c_attn": [24], "h.2.attn.c_attn": [24],
        "h.2.attn.c_proj": [4], "h.2.mlp": [4], "ln_f": [4],
    }  # fmt: skip


def test_nothing_below_the_first_trainable_tensor_has_a_gradient(fast):
    fast.requires_grad_(False)
    fast.transformer.h[1].mlp.c_fc.bias.requires_grad_(True)
    needs = {}
    for name in ("h.1.ln_1", "h.1.mlp", "h.1.mlp.c_proj", "h.2.ln_1"):
        note = lambda _, inputs, name=name: needs.update({name: inputs[0].requires_grad})  # noqa: E731
        fast.transformer.get_submodule(name).register_forward_pre_hook(note)
    fast(*batch([3, 7], 8)).logits.sum().backward()
    assert needs == {"h.1.ln_1": False, "h.1.mlp": False, "h.1.mlp.c_proj": True, "h.2.ln_1": True}
    assert [n for n, p in fast.named_parameters() if p.grad is not None] == ["transformer.h.1.mlp.c_fc.bias"]


LEFT = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
HOLES = torch.tensor([[1, 0, 1, 1, 0], [1, 1, 1, 1, 1]])
EMPTY = torch.tensor([[0, 0, 0, 0, 0], [1, 1, 1, 0, 0]])
SOFT = torch.tensor([[1.0, 0.5, 0.0, 0.0, 0.0], [1, 1, 1, 0, 0]])
TWOS = torch.tensor([[2, 1, 1, 0, 0], [1, 1, 1, 0, 0]])


@pytest.mark.parametrize("mask", [LEFT, HOLES, EMPTY, SOFT, TWOS], ids=["left", "holes", "empty row", "soft", "twos"])
def test_other_masks_are_computed_as_the_plain_form_does(plain, fast, mask):
    ids, _ = batch([5, 5], 5)
    assert right_padded_lengths(ids, mask) is None
    torch.testing.assert_close(fast(ids, mask).logits, plain(ids, mask).logits, rtol=0, atol=1e-13)


def test_given_positions_are_used(plain, fast):
    ids, mask = batch([3, 5], 5)
    positions = torch.arange(5).flip(0).expand(2, -1)
    want = plain(ids, mask, positions).logits
    torch.testing.assert_close(fast(ids, mask, positions).logits, want, rtol=0, atol=1e-13)
    assert (want - plain(ids, mask).logits).abs().max() > 1e-3


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.bool, torch.float32])
def test_a_mask_of_any_dtype_is_understood(fast, dtype):
    ids, mask = batch([3, 5], 8)
    assert right_padded_lengths(ids, mask.to(dtype)) == [3, 5]
    assert torch.equal(fast(ids, mask.to(dtype)).logits, fast(ids, mask).logits)


def test_a_batch_without_a_mask_has_no_padding(fast):
    ids, _ = batch([7, 7], 7)
    assert torch.equal(fast(ids).logits, fast(ids, torch.ones_like(ids)).logits)


def test_too_many_tokens_are_refused_as_before(fast):
    with pytest.raises(ValueError, match="this model has 16 positions"):
        fast(torch.ones(1, 17, dtype=torch.long))


def test_the_order_of_the_rows_and_their_neighbours_do_not_matter(fast):
    ids, mask = batch([4, 16, 1, 9, 9, 2, 12, 3, 3, 7, 1], 16)
    whole = fast(ids, mask).logits
    turned = fast(ids.flip(0), mask.flip(0)).logits.flip(0)
    torch.testing.assert_close(turned, whole, rtol=0, atol=1e-13)
    for i in range(len(ids)):
        torch.testing.assert_close(fast(ids[i : i + 1], mask[i : i + 1]).logits, whole[i : i + 1], rtol=0, atol=1e-13)


def test_where_each_token_stands():
    lengths = [2, 5, 1, 3, 3, 1, 4, 2, 2, 1]
    rows, H = PackedRows.of(lengths, 6, torch.device("cpu")), 2
    assert [lengths[i] for i in rows.order] == rows.lengths == sorted(lengths, reverse=True)
    assert rows.tokens.tolist() == [row * 6 + t for row in rows.order.tolist() for t in range(lengths[row])]
    assert rows.positions.tolist() == [t for row in rows.order.tolist() for t in range(lengths[row])]
    assert rows.tokens[rows.last].tolist() == [row * 6 + lengths[row] - 1 for row in rows.order.tolist()]
    plan = GroupedAttention(rows, H)
    assert plan.groups == [(GROUP, 5), (2, 1)]
    for part in range(3):  # taking a piece home from its slot gives back the piece
        pieces = torch.arange(sum(lengths) * 3 * H).view(-1, 3, H)
        assert torch.equal(pieces.view(-1)[plan.filled[part]][plan.home], pieces[:, part])


def test_saved_files_name_the_class_that_transformers_knows(fast, tmp_path):
    fast.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == ["GPT2ForSequenceClassification"]
    again = gpt2.GPT2ForSequenceClassification.from_pretrained(tmp_path, dtype=torch.float64)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), fast.parameters()))

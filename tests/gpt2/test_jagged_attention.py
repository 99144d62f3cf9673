"""The attention for CUDA, as far as a CPU can tell: the kernel is stood in for by torch's own, row by row."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import gpt2
from gpt2 import jagged_attention
from gpt2.jagged_attention import JaggedAttention
from gpt2.packed_attention import GroupedAttention
from gpt2.packing import PackedRows

CPU, H, E = torch.device("cpu"), 4, 8
CONFIG = gpt2.GPT2Config(
    vocab_size=101, n_positions=16, n_embd=H * E, n_layer=3, n_head=H, eos_token_id=0,
    resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
)  # fmt: skip
LENGTHS = [[5], [1, 1, 1], [4, 4], [2, 9, 1, 3, 3, 16, 4, 2, 2, 1, 7]]


@pytest.fixture
def kernel(monkeypatch):
    """The calls that a CUDA kernel would get, each answered row by row."""
    calls = []

    def by_rows(q, k, v, **options):
        calls.append(options)
        rows = [F.scaled_dot_product_attention(*row, **options) for row in zip(q.unbind(), k.unbind(), v.unbind())]
        nested = torch.nested.as_nested_tensor([row.transpose(0, 1) for row in rows], layout=torch.jagged)
        return nested.transpose(1, 2)

    class Functional:
        scaled_dot_product_attention = staticmethod(by_rows)

    monkeypatch.setattr(jagged_attention, "F", Functional)
    return calls


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_it_equals_attention_in_groups_in_values_and_gradients(kernel, lengths, pooled):
    rows = PackedRows.of(lengths, max(lengths), CPU)
    qkv = torch.randn(sum(lengths), 3 * H * E, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    results = []
    for attend in (GroupedAttention(rows, H), JaggedAttention(rows, H)):
        x = qkv.clone().requires_grad_()
        y = attend(x, nn.Dropout(0.0), pooled)
        y.backward(torch.linspace(1, 2, y.numel(), dtype=y.dtype).view(y.shape))
        results += [(y, x.grad)]
    assert len(kernel) == 1
    for want, got in zip(*results):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-13)


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_the_classifier_computes_the_same_with_it(kernel, monkeypatch, lengths):
    torch.manual_seed(0)
    plain = gpt2.GPT2ForSequenceClassification(CONFIG).double()
    ids = torch.randint(0, 101, (len(lengths), max(lengths) + 1)).clamp_max(100)[:, :16]
    mask = (torch.arange(ids.shape[1]) < torch.tensor(lengths)[:, None]).long()
    fast = copy.deepcopy(plain)
    gpt2.use_fast(fast)
    monkeypatch.setattr(JaggedAttention, "fits", lambda device, E: True)
    labels = torch.arange(len(lengths)) % 2
    for model in (plain, fast):
        model(ids, mask, labels=labels).loss.backward()
    assert len(kernel) == CONFIG.n_layer
    for (name, want), (_, got) in zip(plain.named_parameters(), fast.named_parameters()):
        torch.testing.assert_close(got.grad, want.grad, rtol=0, atol=1e-12, msg=name)


def test_dropout_is_the_kernels_and_only_in_training(kernel):
    rows = PackedRows.of([3, 2], 3, CPU)
    for training in (True, False):
        JaggedAttention(rows, H)(torch.randn(5, 3 * H * E), nn.Dropout(0.25).train(training), pooled=False)
    assert kernel == [{"dropout_p": 0.25, "is_causal": True}, {"dropout_p": 0.0, "is_causal": True}]


def test_the_longest_and_the_shortest_row_are_told_and_need_no_reading():
    attend = JaggedAttention(PackedRows.of([3, 7, 2], 7, CPU), H)
    nested = attend._jagged(torch.randn(12, H, E))
    assert (nested._maybe_max_seqlen, nested._maybe_min_seqlen) == (7, 2)
    assert attend.offsets.tolist() == [0, 7, 10, 12]


@pytest.mark.parametrize(("device", "E", "fits"), [("cuda", 64, True), ("cuda", 20, False), ("cpu", 64, False)])
def test_it_is_for_cuda_and_for_heads_that_the_kernels_take(device, E, fits):
    assert JaggedAttention.fits(torch.device(device), E) == fits

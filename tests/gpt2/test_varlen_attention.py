"""The attention for CUDA, as far as a CPU can tell: the kernel is stood in for by torch's own attention, row by row."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import gpt2
from gpt2 import fast as fast_form
from gpt2 import varlen_attention
from gpt2.packed_attention import GroupedAttention
from gpt2.packing import PackedRows
from gpt2.varlen_attention import VarlenAttention, flash_works

CPU, H, E = torch.device("cpu"), 4, 8
CONFIG = gpt2.GPT2Config(
    vocab_size=101, n_positions=16, n_embd=H * E, n_layer=3, n_head=H, eos_token_id=0,
    resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
)  # fmt: skip
LENGTHS = [[5], [1, 1, 1], [4, 4], [2, 9, 1, 3, 3, 16, 4, 2, 2, 1, 7]]


def by_rows(q, k, v, starts, longest, p):
    assert starts.dtype == torch.int32 and longest == int(starts.diff().max())
    rows = [[t[a:b].transpose(0, 1) for t in (q, k, v)] for a, b in zip(starts[:-1], starts[1:])]
    y = [F.scaled_dot_product_attention(*row, dropout_p=p, is_causal=True).transpose(0, 1) for row in rows]
    return torch.cat(y)


@pytest.fixture
def kernel(monkeypatch):
    """The dropouts that the kernel is asked for, call by call."""
    calls = []
    monkeypatch.setattr(varlen_attention, "flash", lambda *given: calls.append(given[-1]) or by_rows(*given))
    return calls


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_it_equals_attention_in_groups_in_values_and_gradients(kernel, lengths, pooled):
    rows = PackedRows.of(lengths, max(lengths), CPU)
    qkv = torch.randn(sum(lengths), 3 * H * E, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    results = []
    for attend in (GroupedAttention(rows, H), VarlenAttention(rows, H)):
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
    ids = torch.randint(0, 101, (len(lengths), max(lengths)))
    mask = (torch.arange(ids.shape[1]) < torch.tensor(lengths)[:, None]).long()
    fast = copy.deepcopy(plain)
    gpt2.use_fast(fast)
    monkeypatch.setattr(fast_form, "flash_works", lambda *_: True)
    labels = torch.arange(len(lengths)) % 2
    for model in (plain, fast):
        model(ids, mask, labels=labels).loss.backward()
    assert len(kernel) == CONFIG.n_layer
    for (name, want), (_, got) in zip(plain.named_parameters(), fast.named_parameters()):
        torch.testing.assert_close(got.grad, want.grad, rtol=0, atol=1e-12, msg=name)


def test_dropout_is_the_kernels_and_only_in_training(kernel):
    rows = PackedRows.of([3, 2], 3, CPU)
    for training in (True, False):
        VarlenAttention(rows, H)(torch.randn(5, 3 * H * E), nn.Dropout(0.25).train(training), pooled=False)
    assert kernel == [0.25, 0.0]


def test_the_operator_takes_what_it_is_given():
    """On the meta device torch checks the call against the operator's schema and says what shape comes back."""
    q = torch.empty(5, H, 64, dtype=torch.bfloat16, device="meta", requires_grad=True)
    y = varlen_attention.flash(q, q, q, torch.tensor([0, 3, 5], dtype=torch.int32, device="meta"), 3, 0.1)
    assert (y.shape, y.dtype) == (q.shape, q.dtype)
    y.sum().backward()
    assert q.grad.shape == q.shape


@pytest.mark.parametrize(("device", "dtype"), [("cpu", torch.bfloat16), ("cuda", torch.float32)])
def test_it_is_for_16_bits_on_cuda_alone(device, dtype):
    assert not flash_works(torch.device(device), dtype, 64)


def gone(*_):
    raise RuntimeError("no kernel for this GPU")


@pytest.mark.parametrize(
    ("kernel", "works"),
    [(by_rows, True), (lambda *given: by_rows(*given) + 0.1, False), (gone, False)],
    ids=["right", "wrong", "gone"],
)
def test_the_kernel_is_used_only_where_it_gives_what_attention_gives(monkeypatch, kernel, works):
    class Cuda:  # arithmetic on the CPU, for a device that calls itself cuda
        type = "cuda"

    arange, tensor = torch.arange, torch.tensor
    monkeypatch.setattr(torch, "arange", lambda n, device: arange(n))
    monkeypatch.setattr(torch, "tensor", lambda values, dtype, device: tensor(values, dtype=dtype))
    monkeypatch.setattr(varlen_attention, "flash", kernel)
    assert flash_works.__wrapped__(Cuda(), torch.bfloat16, 64) == works

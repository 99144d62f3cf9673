"""The loss in chunks beside the loss of all logits at once: values, gradients, memory, the edges of the numbers."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from gpt2 import target_loss as module
from gpt2.target_loss import target_loss

D, V = 8, 31


@pytest.fixture(autouse=True)
def chunks_of_four(monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 4)


def given(M, dtype=torch.float64, trains=True):
    torch.manual_seed(0)
    head = nn.Linear(D, V, bias=False, dtype=dtype)
    head.weight.requires_grad_(trains)
    return torch.randn(M, D, dtype=dtype, requires_grad=True), head, torch.randint(0, V, (M,))


def of_all_logits(hidden, head, targets):
    return F.cross_entropy(head(hidden), targets, reduction="sum")


def gradients(loss, *of):
    """Of a fraction of the loss, as a step takes it."""
    return torch.autograd.grad(loss / 7, [x for x in of if x.requires_grad])


@pytest.mark.parametrize("trains", [False, True], ids=["frozen", "trains"])
@pytest.mark.parametrize("M", [1, 4, 5, 14])
def test_value_and_gradients_are_those_of_all_logits_at_once(M, trains):
    hidden, head, targets = given(M, trains=trains)
    want, got = of_all_logits(hidden, head, targets), target_loss(hidden, head, targets)
    torch.testing.assert_close(got, want, rtol=1e-14, atol=0)
    pairs = list(zip(*(gradients(loss, hidden, head.weight) for loss in (want, got))))
    assert len(pairs) == 1 + trains
    for a, b in pairs:
        torch.testing.assert_close(b, a, rtol=1e-12, atol=1e-15)


def test_a_head_that_trains_alone_has_its_gradient():
    hidden, head, targets = given(9)
    want, got = (gradients(f(hidden.detach(), head, targets), head.weight) for f in (of_all_logits, target_loss))
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-15)


class MostLogits(TorchDispatchMode):
    """The most rows of width `V` that any operator gives; what is `D` high is a view of the head's weight."""

    def __init__(self, V, D):
        super().__init__()
        self.V, self.D, self.rows = V, D, 0

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        made = operator(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor) and made.dim() > 1 and made.shape[-1] == self.V and made.shape[0] != self.D:
            self.rows = max(self.rows, made[..., 0].numel())
        return made


@pytest.mark.parametrize("trains", [False, True], ids=["frozen", "trains"])
def test_no_more_than_a_chunk_of_logits_is_there_at_once_and_none_is_kept(trains):
    hidden, head, targets = given(14, trains=trains)
    kept = []
    with (
        MostLogits(V, D) as most,
        torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.shape) or x, lambda x: x),
    ):
        target_loss(hidden, head, targets).backward()
    assert most.rows == 4
    assert kept == [(14, D), (V, D)][: 1 + trains]


PRODUCTS = (torch.ops.aten.mm, torch.ops.aten.addmm, torch.ops.aten.matmul)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_where_no_gradient_is_wanted_none_is_computed(mode):
    hidden, head, targets = given(9)
    products = []

    class Products(TorchDispatchMode):
        def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
            products.extend([operator] * (operator.overloadpacket in PRODUCTS))
            return operator(*args, **(kwargs or {}))

    with mode(), Products():
        got = target_loss(hidden, head, targets)
    assert len(products) == 3  # one a chunk
    torch.testing.assert_close(got, of_all_logits(hidden, head, targets).detach(), rtol=1e-14, atol=0)


def test_logits_beyond_what_exp_can_hold_give_what_they_should():
    hidden, head, targets = given(9, torch.float32)
    hidden = (hidden.detach() * 1e4).requires_grad_()
    want, got = of_all_logits(hidden, head, targets), target_loss(hidden, head, targets)
    assert want > 1e4 and torch.allclose(got, want, rtol=1e-5)
    for a, b in zip(*(gradients(loss, hidden, head.weight) for loss in (want, got))):
        assert b.isfinite().all() and torch.allclose(a, b, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("wrapped", [False, True])
def test_without_a_target_the_sum_is_zero_and_so_are_the_gradients(wrapped):
    hidden, head, targets = given(0)
    loss = target_loss(hidden, nn.Sequential(head) if wrapped else head, targets)
    dh, dW = gradients(loss, hidden, head.weight)
    assert loss == 0 and dh.shape == (0, D) and torch.equal(dW, torch.zeros(V, D, dtype=dW.dtype))


def test_the_gradient_may_be_asked_for_twice():
    hidden, head, targets = given(9)
    loss = target_loss(hidden, head, targets)
    first, second = (torch.autograd.grad(3 * loss, hidden, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("weight", [torch.float32, torch.bfloat16], ids=["cast", "held"])
def test_under_autocast_products_are_in_bf16_and_the_loss_is_summed_in_float32(weight):
    hidden, head, targets = given(400, torch.float32, trains=weight == torch.float32)
    head.to(weight)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        want, got = F.cross_entropy(head(hidden).float(), targets, reduction="sum"), target_loss(hidden, head, targets)
    assert got.dtype == torch.float32 and torch.allclose(got, want, rtol=1e-6)
    for a, b in zip(*(gradients(loss, hidden, head.weight) for loss in (want, got))):
        assert b.dtype == torch.float32 and torch.cosine_similarity(a.flatten(), b.flatten(), dim=0) > 0.9999


def test_fp16_leaves_the_gradient_to_autograd_which_sees_the_loss_scale():
    hidden, head, targets = given(9, torch.float32, trains=False)
    calls = []
    head.register_forward_hook(lambda *_: calls.append(1))
    with torch.autocast("cpu", dtype=torch.float16):
        loss = target_loss(hidden, head, targets)
    assert calls and loss.dtype == torch.float32
    (got,), (want,) = gradients(loss, hidden), gradients(of_all_logits(hidden, head, targets), hidden)
    torch.testing.assert_close(got, want, rtol=0.02, atol=1e-3)

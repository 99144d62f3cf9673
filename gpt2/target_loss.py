"""The language head's loss without its logits: as many of them as there are rows of a batch times its vocabulary.

A chunk of hidden states is multiplied out to logits, its losses are added up, and in the same memory the logits become
their own gradient, softmax minus one-hot, which is multiplied back at once. So nothing of the vocabulary's width is
kept for the backward pass, and nothing is computed twice.

Letters as in model.py, and M targets of a batch.
"""

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from gpt2.model import cross_entropy

CHUNK = 256  # rows: fewer multiply slower, more are no faster, at a vocabulary of 8,192 as at GPT-2's


def target_loss(hidden: Tensor, lm_head: nn.Module, targets: Tensor) -> Tensor:
    """The sum of the losses of all targets, in nats, in float32 at least: hidden (M, D) and targets (M,) -> ().

    A head that is no nn.Linear (LoRA is on it) is called as it is, and its logits of the targets are kept. So are
    those in fp16, which is too narrow for a gradient that has not yet been scaled.
    """
    dtype = product_dtype(hidden)
    if not isinstance(lm_head, nn.Linear) or dtype == torch.float16:
        return cross_entropy(lm_head(hidden), targets, "sum")
    return _TargetLoss.apply(hidden, lm_head.weight, targets, dtype, torch.is_grad_enabled())


def product_dtype(x: Tensor) -> torch.dtype:
    """In which dtype `x` is multiplied: autocast's where it is on, else its own."""
    autocast = torch.is_autocast_enabled(x.device.type)
    return torch.get_autocast_dtype(x.device.type) if autocast else x.dtype


class _TargetLoss(torch.autograd.Function):
    """Multiplies in `dtype`. The gradients are made in the forward pass, if it `learns`; backward only scales them."""

    @staticmethod
    def forward(ctx, hidden: Tensor, weight: Tensor, targets: Tensor, dtype: torch.dtype, learns: bool) -> Tensor:
        h, W = hidden.to(dtype), weight.to(dtype)  # (M, D), (V, D)
        loss = hidden.new_zeros((), dtype=torch.promote_types(dtype, torch.float32))
        dh, dW = (
            torch.zeros_like(x) if learns and needed else None
            for x, needed in zip((hidden, weight), ctx.needs_input_grad)
        )
        for at in range(0, len(h), CHUNK):
            rows = slice(at, at + CHUNK)
            z = (h[rows] @ W.T).to(loss.dtype)  # (chunk, V), from here on in place: logits, exp, softmax - one-hot
            z -= z.amax(dim=1, keepdim=True)
            logit = z.gather(1, targets[rows, None])
            total = z.exp_().sum(dim=1, keepdim=True)
            loss += (total.log() - logit).sum()
            if dh is None and dW is None:
                continue
            z /= total
            z[torch.arange(len(z), device=z.device), targets[rows]] -= 1
            g = z.to(dtype)
            if dh is not None:
                dh[rows] = g @ W
            if dW is not None and dW.dtype == dtype:
                dW.addmm_(g.T, h[rows])
            elif dW is not None:
                dW += g.T @ h[rows]
        ctx.save_for_backward(dh, dW)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        return *(None if d is None else d * grad for d in ctx.saved_tensors), None, None, None

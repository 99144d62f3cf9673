"""The fast form of the LoRA layer. Same parameters, same result; `layer.py` says what is computed.

The update (lora_alpha / r) B A x is one autograd function here. Three things make it cheap: it is added into the output
of the frozen layer while multiplying; the backward pass keeps the (dropped) input once and nothing of width `out`; and
of its two ways round each narrow product is taken in the one that multiplies faster (several times, for B's gradient).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lora.layer import LoraLayer


class FastLoraLayer(LoraLayer):
    """A LoraLayer whose forward is fused where all is of one dtype, or autocast makes it so; else it is LoraLayer's."""

    def forward(self, x: Tensor) -> Tensor:  # (..., in) -> (..., out)
        names = self.adapters_in_use()
        dtypes = {x.dtype, self.base_layer.weight.dtype} | {self.lora_A[name].weight.dtype for name in names}
        if not names or (len(dtypes) > 1 and not torch.is_autocast_enabled(x.device.type)):
            return super().forward(x)
        h = self.base_layer(x)
        x = x.to(h.dtype)
        for name in names:
            dropped = self.lora_dropout[name](x)
            h = _AddUpdate.apply(h, dropped, self.lora_A[name].weight, self.lora_B[name].weight, self.scaling[name])
        return h

    def for_few_rows(self) -> Callable[[Tensor], Tensor]:
        """forward() as a bare function of a few rows (N, in), without dropout and gradients, while no weight changes.

        For a model that writes: for one token, looking up what is to be multiplied takes longer than multiplying it.
        """
        W, b = self.base_layer.weight, self.base_layer.bias
        names = self.adapters_in_use()
        pairs = [(self.lora_A[n].weight.T, self.lora_B[n].weight.T.contiguous(), self.scaling[n]) for n in names]
        if b is None or len({W.dtype} | {A.dtype for A, _, _ in pairs}) > 1 or torch.is_autocast_enabled(W.device.type):
            return self
        W = W if self.transposed else W.T  # (in, out)

        def few_rows(x: Tensor) -> Tensor:  # (N, in) -> (N, out)
            h = torch.addmm(b, x, W)
            for A, B, scaling in pairs:
                h.addmm_(x @ A, B, alpha=scaling)
            return h

        return few_rows


class _AddUpdate(torch.autograd.Function):
    """h + scaling * B A x, written into `h`, which the caller must have made and must not use afterwards.

    All is multiplied in the dtype of `h` and `x`; where A and B have another, autograd casts their gradients to it.

    Not marked as dirty: `h` is a view of the frozen layer's product, and for views autograd would copy its gradient.
    The version counter still moves, so a layer that needs its own output for its gradient gets an error, not a lie.
    """

    @staticmethod
    def forward(ctx, h: Tensor, x: Tensor, A: Tensor, B: Tensor, scaling: float) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])  # (N, in)
        A, Bt = A.to(h.dtype), B.T.to(h.dtype).contiguous()  # (r, in), (r, out)
        u = rows @ A.T  # (N, r)
        h.view(-1, h.shape[-1]).addmm_(u, Bt, alpha=scaling)
        ctx.save_for_backward(rows, u, A, Bt)
        ctx.scaling, ctx.shape = scaling, x.shape
        return h

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        rows, u, A, Bt = ctx.saved_tensors
        g = grad.reshape(-1, grad.shape[-1])  # (N, out)
        needs_h, needs_x, needs_A, needs_B, _ = ctx.needs_input_grad
        dx = dA = dB = None
        if needs_x or needs_A:
            du = (g @ Bt.T).mul_(ctx.scaling)  # (N, r)
            dx = (du @ A).view(ctx.shape) if needs_x else None
            dA = du.T @ rows if needs_A else None
        if needs_B:
            dB = (u.T @ g).mul_(ctx.scaling).T
        return grad if needs_h else None, dx, dA, dB, None


def use_fast(model: nn.Module) -> None:
    """Put the fast form into every LoraLayer of `model`; parameters, names and files stay as they are."""
    for module in model.modules():
        if type(module) is LoraLayer:
            module.__class__ = FastLoraLayer


def use_plain(model: nn.Module) -> None:
    """The inverse of `use_fast`."""
    for module in model.modules():
        if type(module) is FastLoraLayer:
            module.__class__ = LoraLayer

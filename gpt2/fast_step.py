"""The fast form of a step in which the language model writes: one token of each row goes through all blocks.

Such a step waits for memory, since every weight is read for one token, and what it can save is what stands around the
products: it asks each layer once, before the first step, for its bare function, and calls no module after that.
Letters as in model.py.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpt2.cache import KeyValueCache
from gpt2.model import Conv1D, GPT2LMHeadModel

FEW = 6  # rows; from about eight on nn.Linear's way round is as fast


def fast_step(model: GPT2LMHeadModel) -> Callable[[Tensor, KeyValueCache], Tensor]:
    """`model.next_logits` for evaluation mode, while neither weights nor adapters change.

    Hooks on modules are not called in it, except by a prompt of several tokens, which goes through the model itself.
    """
    body, H = model.transformer, model.config.n_head
    ln_f, head = bare(body.ln_f), bare(model.lm_head)
    blocks = [
        [bare(m) for m in (b.ln_1, b.attn.c_attn, b.attn.c_proj, b.ln_2, b.mlp.c_fc, b.mlp.c_proj)] for b in body.h
    ]

    def step(input_ids: Tensor, cache: KeyValueCache) -> Tensor:  # (B, T) -> (B, V)
        B, T = input_ids.shape
        if T > 1:
            return model.next_logits(input_ids, cache)
        x = body.wte(input_ids[:, 0]) + body.wpe(input_ids.new_full((1,), cache.length))  # (B, D)
        for (ln_1, c_attn, c_proj, ln_2, c_fc, mlp_c_proj), kept in zip(blocks, cache.blocks):
            q, k, v = c_attn(ln_1(x)).view(B, 3, H, 1, -1).unbind(1)  # (B, H, 1, D/H)
            y = F.scaled_dot_product_attention(q, *kept.append(k, v))
            x = x + c_proj(y.reshape(B, -1))
            x = x + mlp_c_proj(F.gelu(c_fc(ln_2(x)), approximate="tanh"))
        return head(ln_f(x))

    return step


def bare(layer: nn.Module) -> Callable[[Tensor], Tensor]:
    """What `layer` computes of a few rows (B, in), without the module around it. A layer may offer this itself."""
    if hasattr(layer, "for_few_rows"):
        return layer.for_few_rows()
    W, b = getattr(layer, "weight", None), getattr(layer, "bias", None)
    if type(layer) is Conv1D:
        return lambda x: torch.addmm(b, x, W)
    if type(layer) is nn.LayerNorm:
        return lambda x: F.layer_norm(x, layer.normalized_shape, W, b, layer.eps)
    if type(layer) is nn.Linear and b is None and W.device.type == "cpu":
        return lambda x: turned_round(x, W)
    return layer


def turned_round(x: Tensor, W: Tensor) -> Tensor:
    """x W^T for a few rows x (B, in) and a large W (out, in), as W x^T: (B, out).

    With MKL this takes two thirds of the time for one row, and a third for two or three; but a single column would take
    as long as ever, so one row goes in twice.
    """
    B = len(x)
    if B > FEW:
        return F.linear(x, W)
    if B == 1:
        x = x.expand(2, -1).contiguous()  # a real copy: of rows that share their memory the product takes far longer
    return (W @ x.T).T[:B]

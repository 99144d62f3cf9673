"""The fast form of GPT-2 and its two heads: the same parameters and answers, without computing what nobody reads.

* A batch's padding is left out: the rows stand back to back as one (N, D) tensor (packing.py), also in attention
  (packed_attention.py, and varlen_attention.py for CUDA).
* In the last block, what follows attention is computed for the tokens alone that are scored or ask for a target; so
  are the classifier's queries.
* The language head's logits never stand in memory at once (target_loss.py).
* GELU is one pass of torch's over the widest tensor there is, instead of seven.

`use_fast(model)` puts it in, `use_plain(model)` takes it out; `hold_frozen` is for runs in bf16. Letters as in
model.py, and N real tokens of a batch.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpt2.cache import KeyValueCache
from gpt2.model import (
    GPT2MLP,
    Conv1D,
    GPT2Attention,
    GPT2Block,
    GPT2ForSequenceClassification,
    GPT2LMHeadModel,
    GPT2Model,
    GPT2Output,
    cross_entropy,
)
from gpt2.packed_attention import GroupedAttention
from gpt2.packing import PackedRows, send, take
from gpt2.target_loss import product_dtype, target_loss
from gpt2.varlen_attention import VarlenAttention, flash_works

Attention = GroupedAttention | VarlenAttention


class FastGPT2Model(GPT2Model):
    """The body, which can also walk over packed rows; called as a module it is the plain form with a faster MLP."""

    def lengths_to_pack(
        self, input_ids: Tensor, attention_mask: Tensor | None, position_ids: Tensor | None
    ) -> list[int] | None:
        """The number of tokens of each row; None for a batch that is not padded on the right alone, or too long.

        A mask that has stayed on the CPU is read without waiting for a GPU.
        """
        if position_ids is not None or input_ids.shape[1] > self.config.n_positions:
            return None
        return right_padded_lengths(input_ids, attention_mask)

    def packed(self, input_ids: Tensor, rows: PackedRows, pooled: bool = False, kept: Tensor | None = None) -> Tensor:
        """The hidden states (N, D) of `rows` out of `input_ids` (B, T), after the final norm.

        With `pooled` (B, D): those of each row's last token. With `kept` (K, D): those of the tokens at these indices.
        """
        x = self.drop(self.wte(input_ids.reshape(-1)[rows.tokens]) + self.wpe(rows.positions))  # (N, D)
        attend = self.attention(rows, product_dtype(x))
        for block in self.h[:-1]:
            x = self.through(packed_block, block, x, attend)
        x = self.through(packed_block, self.h[-1], x, attend, *((True,) if pooled else (False, kept)))
        with torch.autocast(x.device.type, enabled=False):  # few rows are left: the norm keeps its precision
            return self.ln_f(x.to(next(self.ln_f.parameters()).dtype))

    def attention(self, rows: PackedRows, dtype: torch.dtype) -> Attention:
        """The kernel for what c_attn will give, where there is one and it works; else groups."""
        device, H, E = rows.order.device, self.config.n_head, self.config.n_embd // self.config.n_head
        return VarlenAttention(rows, H) if flash_works(device, dtype, E) else GroupedAttention(rows, H)


class FastGPT2ForSequenceClassification(GPT2ForSequenceClassification):
    """The classifier over packed rows. `last_hidden_state` stays None: most of it is never computed."""

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        labels: Tensor | None = None,
        reduction: str = "mean",
    ) -> GPT2Output:
        """As GPT2ForSequenceClassification; what is not padded on the right alone goes its way."""
        lengths = self.transformer.lengths_to_pack(input_ids, attention_mask, position_ids)
        if lengths is None:
            return super().forward(input_ids, attention_mask, position_ids, labels, reduction)
        rows = PackedRows.of(lengths, input_ids.shape[1], input_ids.device)
        hidden = self.transformer.packed(input_ids, rows, pooled=True)  # (B, D)
        with torch.autocast(hidden.device.type, enabled=False):  # B rows cost nothing: the score keeps its precision
            logits = self.score(hidden)
        logits = logits[rows.order.argsort()]  # (B, C), in the order of the batch again
        loss = None if labels is None else cross_entropy(logits, labels.view(-1), reduction)
        return GPT2Output(loss=loss, logits=logits)


class FastGPT2LMHeadModel(GPT2LMHeadModel):
    """The language model over packed rows. Asked for a loss it gives the loss alone: no logits, no hidden states."""

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        labels: Tensor | None = None,
        reduction: str = "mean",
        cache: KeyValueCache | None = None,
    ) -> GPT2Output:
        """As GPT2LMHeadModel; without labels, and for what is not padded on the right alone, it goes its way.

        As the mask, labels that have stayed on the CPU are read without waiting for a GPU.
        """
        plan = None
        if labels is not None and cache is None and reduction in ("mean", "sum"):
            plan = plan_targets(labels, self.transformer.lengths_to_pack(input_ids, attention_mask, position_ids))
        if plan is None:
            return super().forward(input_ids, attention_mask, position_ids, labels, reduction, cache)
        device = input_ids.device
        rows, kept, targets = plan[0].to(device), send(plan[1], device), send(plan[2], device)
        hidden = self.transformer.packed(input_ids, rows, kept=kept)  # (M, D)
        loss = target_loss(hidden, self.lm_head, targets)
        return GPT2Output(loss=loss if reduction == "sum" else loss / len(targets))


def plan_targets(labels: Tensor, lengths: list[int] | None) -> tuple[PackedRows, Tensor, Tensor] | None:
    """What labels (B, T) ask for: the rows up to their last targets, where in them the M targets are asked, and which.

    All on the CPU. What follows a row's last target is of no use to it; one token is left of a row without targets.
    None without `lengths`, and where padding is asked for its next token: packed rows have no padding.
    """
    if lengths is None:
        return None
    shifted = F.pad(labels.cpu(), (0, 1), value=-100)[:, 1:]
    needed = ((shifted != -100) * torch.arange(1, shifted.shape[1] + 1)).amax(dim=1)
    if (needed > torch.tensor(lengths)).any():
        return None
    rows = PackedRows.of(needed.clamp(min=1).tolist(), shifted.shape[1], shifted.device)
    targets = shifted.reshape(-1)[rows.tokens]  # (N,)
    kept = (targets != -100).nonzero().squeeze(1)
    return rows, kept, targets[kept]


def right_padded_lengths(input_ids: Tensor, attention_mask: Tensor | None) -> list[int] | None:
    """The number of tokens of each row, or None unless every row is ones, at least one, and then zeros."""
    B, T = input_ids.shape
    if attention_mask is None:
        return [T] * B
    lengths = (attention_mask != 0).sum(dim=1)
    expected = torch.arange(T, device=lengths.device) < lengths[:, None]
    if not torch.equal(attention_mask, expected.to(attention_mask.dtype)) or not lengths.all():
        return None
    return lengths.tolist()


def packed_block(
    block: GPT2Block, x: Tensor, attend: Attention, pooled: bool = False, kept: Tensor | None = None
) -> Tensor:
    """A block over packed rows: (N, D) -> (N, D), with `pooled` (B, D) and with `kept` (K, D), as in `packed`."""
    attn = block.attn
    y = attend(attn.c_attn(block.ln_1(x)), attn.attn_dropout, pooled)
    if pooled:
        x = x[attend.rows.last]
    elif kept is not None and len(kept) < len(x):
        x, y = take(x, kept), take(y, kept)
    x = x + attn.resid_dropout(attn.c_proj(y))
    return x + block.mlp(block.ln_2(x))


class FastGPT2MLP(GPT2MLP):
    def forward(self, x: Tensor) -> Tensor:  # (..., D) -> (..., D)
        return self.dropout(self.c_proj(F.gelu(self.c_fc(x), approximate="tanh")))


_FAST = {
    GPT2Model: FastGPT2Model,
    GPT2ForSequenceClassification: FastGPT2ForSequenceClassification,
    GPT2LMHeadModel: FastGPT2LMHeadModel,
    GPT2MLP: FastGPT2MLP,
}
_PLAIN = {fast: plain for plain, fast in _FAST.items()}


def use_fast(model: nn.Module) -> None:
    """Put the fast form into every GPT-2 inside `model`, wrapped by LoRA or not."""
    for module in list(model.modules()):
        module.__class__ = _FAST.get(type(module), type(module))
        if isinstance(module, GPT2Attention) and "attn_dropout" not in module._modules:
            # The plain form leaves dropout to one function call; here it is a step of its own.
            module.attn_dropout = nn.Dropout(module.attn_pdrop).train(module.training)


def use_plain(model: nn.Module) -> None:
    """The inverse of `use_fast`."""
    for module in list(model.modules()):
        module.__class__ = _PLAIN.get(type(module), type(module))
        if isinstance(module, GPT2Attention) and "attn_dropout" in module._modules:
            del module.attn_dropout


def is_fast(model: nn.Module) -> bool:
    """Whether `use_fast` has been here."""
    return any(type(module) in _PLAIN for module in model.modules())


def hold_frozen(model: nn.Module, dtype: torch.dtype) -> None:
    """Keep the matrices and embeddings that do not train in `dtype`, once, instead of casting them at each use.

    The embeddings' dtype is then that of the activations, and autocast to `dtype` does the rest. It rounds the weights:
    a base that is to be merged or saved is loaded anew.
    """
    for module in model.modules():
        if isinstance(module, Conv1D | nn.Embedding) and not any(p.requires_grad for p in module.parameters()):
            module.to(dtype)

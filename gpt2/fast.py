"""The fast form of the classifier: the same parameters and the same answer, without computing what nobody reads.

* A batch's padding is left out: the rows stand back to back as one (N, D) tensor (packing.py), also in attention
  (packed_attention.py, and varlen_attention.py for CUDA).
* In the last block, everything after the keys and values is computed for the scored tokens alone.
* GELU is one pass of torch's over the widest tensor there is, instead of seven.

`use_fast(model)` puts it in, `use_plain(model)` takes it out; `hold_frozen` is for runs in bf16. Letters as in
model.py, and N real tokens of a batch.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpt2.model import GPT2MLP, Conv1D, GPT2Attention, GPT2Block, GPT2ForSequenceClassification, GPT2Output
from gpt2.packed_attention import GroupedAttention
from gpt2.packing import PackedRows
from gpt2.varlen_attention import VarlenAttention, flash_works

Attention = GroupedAttention | VarlenAttention


class FastGPT2ForSequenceClassification(GPT2ForSequenceClassification):
    """The classifier over packed rows. `last_hidden_state` stays None: most of it is never computed."""

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> GPT2Output:
        """As GPT2ForSequenceClassification; what is not padded on the right alone goes its way.

        A mask that has stayed on the CPU is read without waiting for a GPU.
        """
        lengths = right_padded_lengths(input_ids, attention_mask)
        if lengths is None or position_ids is not None or input_ids.shape[1] > self.config.n_positions:
            return super().forward(input_ids, attention_mask, position_ids, labels)
        body = self.transformer
        rows = PackedRows.of(lengths, input_ids.shape[1], input_ids.device)
        attend = self.attention(rows)
        x = body.drop(body.wte(input_ids.reshape(-1)[rows.tokens]) + body.wpe(rows.positions))  # (N, D)
        for block in body.h[:-1]:
            x = body.through(packed_block, block, x, attend)
        x = body.through(packed_block, body.h[-1], x, attend, True)  # (B, D)
        with torch.autocast(x.device.type, enabled=False):  # B rows cost nothing: norm and score keep their precision
            logits = self.score(body.ln_f(x.to(body.ln_f.weight.dtype)))
        logits = logits[rows.order.argsort()]  # (B, C), in the order of the batch again
        loss = None if labels is None else F.cross_entropy(logits.view(-1, self.config.num_labels), labels.view(-1))
        return GPT2Output(loss=loss, logits=logits)

    def attention(self, rows: PackedRows) -> Attention:
        """The kernel for what c_attn will give, where there is one and it works; else groups."""
        device, H, E = rows.order.device, self.config.n_head, self.config.n_embd // self.config.n_head
        autocast = torch.is_autocast_enabled(device.type)
        dtype = torch.get_autocast_dtype(device.type) if autocast else self.transformer.wte.weight.dtype
        return VarlenAttention(rows, H) if flash_works(device, dtype, E) else GroupedAttention(rows, H)


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


def packed_block(block: GPT2Block, x: Tensor, attend: Attention, pooled: bool = False) -> Tensor:
    """A block over packed rows: (N, D) -> (N, D), or with `pooled` (B, D), the last token of each row."""
    attn = block.attn
    y = attend(attn.c_attn(block.ln_1(x)), attn.attn_dropout, pooled)
    x = (x[attend.rows.last] if pooled else x) + attn.resid_dropout(attn.c_proj(y))
    return x + block.mlp(block.ln_2(x))


class FastGPT2MLP(GPT2MLP):
    def forward(self, x: Tensor) -> Tensor:  # (..., D) -> (..., D)
        return self.dropout(self.c_proj(F.gelu(self.c_fc(x), approximate="tanh")))


_FAST = {GPT2ForSequenceClassification: FastGPT2ForSequenceClassification, GPT2MLP: FastGPT2MLP}
_PLAIN = {fast: plain for plain, fast in _FAST.items()}


def use_fast(model: nn.Module) -> None:
    """Put the fast form into every classifier inside `model`, wrapped by LoRA or not."""
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

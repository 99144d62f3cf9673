"""GPT-2, plainly: the frozen model that LoRA is put into. It has never heard of LoRA.

Every operation is spelled as transformers spells it, in the same order and on the same memory layout, so that on a
CPU the numbers agree to the bit, dropout included. Parameter names are those of the checkpoint.
Radford et al. 2019, "Language Models are Unsupervised Multitask Learners".

Letters in the shapes:  B rows   T positions   D n_embd   H heads   V vocabulary   C labels
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gpt2.cache import BlockCache, KeyValueCache
from gpt2.checkpoint import PretrainedModel
from gpt2.config import CheckpointError, GPT2Config
from gpt2.packing import send


@dataclass
class GPT2Output:
    """What a forward pass gives; what a model does not compute stays None."""

    loss: Tensor | None = None  # ()
    logits: Tensor | None = None  # (B, T, V) for the language model, (B, C) for the classifier
    last_hidden_state: Tensor | None = None  # (B, T, D)


class Conv1D(nn.Module):
    """y = x W + b with W stored `(in, out)`: the transpose of nn.Linear's. The checkpoint has it so."""

    def __init__(self, nf: int, nx: int):
        super().__init__()
        self.nf, self.nx = nf, nx
        self.weight = nn.Parameter(torch.empty(nx, nf))
        self.bias = nn.Parameter(torch.zeros(nf))
        nn.init.normal_(self.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:  # (..., nx) -> (..., nf)
        y = torch.addmm(self.bias, x.view(-1, self.nx), self.weight)
        return y.view(*x.shape[:-1], self.nf)

    def extra_repr(self) -> str:
        return f"nf={self.nf}, nx={self.nx}"


def gelu_new(x: Tensor) -> Tensor:
    """GPT-2's GELU, the tanh form of Hendrycks & Gimpel 2016. The exact (erf) form is another function."""
    return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0))))


class GPT2Attention(nn.Module):
    def __init__(self, config: GPT2Config):
        super().__init__()
        self.n_head = config.n_head
        self.c_attn = Conv1D(3 * config.n_embd, config.n_embd)  # q, k and v side by side
        self.c_proj = Conv1D(config.n_embd, config.n_embd)
        self.attn_pdrop = config.attn_pdrop
        self.resid_dropout = nn.Dropout(config.resid_pdrop)

    def forward(self, x: Tensor, mask: Tensor | None, cache: BlockCache | None = None) -> Tensor:  # both (B, T, D)
        B, T, D = x.shape
        # q, k and v stay strided views of one tensor: attention dropout's rounding on a CPU depends on the layout.
        q, k, v = (
            t.view(B, T, self.n_head, -1).transpose(1, 2) for t in self.c_attn(x).split(D, dim=2)
        )  # (B, H, T, D/H)
        if cache is not None:
            k, v = cache.append(k, v)  # (B, H, past + T, D/H)
        y = F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=mask,
            dropout_p=self.attn_pdrop if self.training else 0.0,
            is_causal=mask is None and T > 1,
            scale=(D // self.n_head) ** -0.5,
        )
        y = y.transpose(1, 2).contiguous().view(B, T, D)
        return self.resid_dropout(self.c_proj(y))


class GPT2MLP(nn.Module):
    def __init__(self, config: GPT2Config):
        super().__init__()
        self.c_fc = Conv1D(config.inner_size, config.n_embd)
        self.c_proj = Conv1D(config.n_embd, config.inner_size)
        self.dropout = nn.Dropout(config.resid_pdrop)

    def forward(self, x: Tensor) -> Tensor:  # (B, T, D) -> (B, T, D)
        return self.dropout(self.c_proj(gelu_new(self.c_fc(x))))


class GPT2Block(nn.Module):
    def __init__(self, config: GPT2Config):
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.attn = GPT2Attention(config)
        self.ln_2 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.mlp = GPT2MLP(config)

    def forward(self, x: Tensor, mask: Tensor | None, cache: BlockCache | None = None) -> Tensor:  # both (B, T, D)
        x = x + self.attn(self.ln_1(x), mask, cache)
        return x + self.mlp(self.ln_2(x))


class GPT2Model(PretrainedModel):
    """Token and position embeddings, `n_layer` blocks, a final norm."""

    def __init__(self, config: GPT2Config):
        super().__init__(config)
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.n_positions, config.n_embd)
        self.drop = nn.Dropout(config.embd_pdrop)
        self.h = nn.ModuleList(GPT2Block(config) for _ in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.gradient_checkpointing = False
        self.apply(self.init_weights)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: KeyValueCache | None = None,
    ) -> GPT2Output:
        """`input_ids` and `attention_mask` (1 real, 0 padding) are (B, T); positions count from 0 unless given.

        With a `cache` the T tokens follow the `past` ones in it, and join them; a mask is then (B, past + T).
        """
        T, past = input_ids.shape[1], 0 if cache is None else cache.length
        if self.config.n_positions < past + T:
            raise ValueError(
                f"{past + T} tokens, but this model has {self.config.n_positions} positions; cut the text to that many"
            )
        if position_ids is None:
            position_ids = torch.arange(past, past + T, device=input_ids.device).unsqueeze(0)
        x = self.drop(self.wte(input_ids) + self.wpe(position_ids))  # (B, T, D)
        mask = attention_bias(attention_mask, x.device, T, past)
        for i, block in enumerate(self.h):
            x = self.through(block, x, mask, None if cache is None else cache.blocks[i])
        return GPT2Output(last_hidden_state=self.ln_f(x))

    def through(self, block: Callable[..., Tensor], *inputs: Any) -> Tensor:
        """block(*inputs); with `gradient_checkpointing` the backward pass computes it again, with the same dropout."""
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return checkpoint(block, *inputs, use_reentrant=False)
        return block(*inputs)

    def init_weights(self, module: nn.Module) -> None:
        """GPT-2's initialisation: N(0, 0.02), the layers that write into the residual stream smaller with depth."""
        std = self.config.initializer_range
        if isinstance(module, Conv1D | nn.Embedding):
            nn.init.normal_(module.weight, std=std)
        elif isinstance(module, GPT2Attention | GPT2MLP):
            nn.init.normal_(module.c_proj.weight, std=std / math.sqrt(2 * self.config.n_layer))


def attention_bias(attention_mask: Tensor | None, device: torch.device, T: int, past: int = 0) -> Tensor | None:
    """True where one of T queries may look, (B, 1, T, past + T) or (T, past + T); `attention_mask` is (B, past + T).

    None stands for plain causal attention, or for a single query that looks at all there is.
    As everywhere here, a mask may stay on the CPU: there it is read without waiting for a GPU.
    """
    no_padding = attention_mask is None or bool(attention_mask.all())
    if no_padding and (past == 0 or T == 1):
        return None
    causal = torch.ones(T, past + T, dtype=torch.bool, device=device).tril(past)
    return causal if no_padding else causal & send(attention_mask, device).bool()[:, None, None, :]


class GPT2LMHeadModel(PretrainedModel):
    """Predicts the next token; the head is the embedding matrix itself (tied weights)."""

    def __init__(self, config: GPT2Config):
        super().__init__(config)
        self.transformer = GPT2Model(config)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.tie_weights()

    def tie_weights(self) -> None:
        self.lm_head.weight = self.transformer.wte.weight

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        labels: Tensor | None = None,
        reduction: str = "mean",
        cache: KeyValueCache | None = None,
    ) -> GPT2Output:
        """`labels` (B, T) are the input ids themselves (the shift is done here); -100 is no target.

        The loss, in nats, is the "mean" over the targets or, for a step of several batches, their "sum".
        """
        hidden = self.transformer(input_ids, attention_mask, position_ids, cache).last_hidden_state
        logits = self.lm_head(hidden)  # (B, T, V)
        loss = None
        if labels is not None:
            targets = F.pad(labels, (0, 1), value=-100)[:, 1:]
            loss = cross_entropy(logits.view(-1, logits.shape[-1]), send(targets.reshape(-1), logits.device), reduction)
        return GPT2Output(loss=loss, logits=logits, last_hidden_state=hidden)

    def next_logits(self, input_ids: Tensor, cache: KeyValueCache) -> Tensor:
        """Logits (B, V) of the token that follows those in the cache and `input_ids`, which join them."""
        hidden = self.transformer(input_ids, cache=cache).last_hidden_state
        return self.lm_head(hidden[:, -1:])[:, -1]


def cross_entropy(logits: Tensor, labels: Tensor, reduction: str) -> Tensor:
    """Of logits (N, C) or (N, V), in nats and in float32 at least; a label of -100 counts for nothing."""
    return F.cross_entropy(logits.to(torch.promote_types(logits.dtype, torch.float32)), labels, reduction=reduction)


class GPT2ForSequenceClassification(PretrainedModel):
    """One label per row: a linear `score` on the last real token, which is the only one that has seen the whole row."""

    def __init__(self, config: GPT2Config):
        super().__init__(config)
        if config.num_labels < 2:  # transformers makes a regression of it; a softmax over one label is always 1
            raise CheckpointError(f"num_labels is {config.num_labels}; a classifier needs at least two labels")
        self.transformer = GPT2Model(config)
        self.score = nn.Linear(config.n_embd, config.num_labels, bias=False)
        nn.init.normal_(self.score.weight, std=config.initializer_range)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        labels: Tensor | None = None,
        reduction: str = "mean",
    ) -> GPT2Output:
        """`labels` (B,) are label numbers, -100 for a row to leave out; the loss is cross entropy in nats."""
        hidden = self.transformer(input_ids, attention_mask, position_ids).last_hidden_state  # (B, T, D)
        # Scoring all positions and picking one afterwards wastes little, and rounds as transformers does.
        logits = self.score(hidden)[
            torch.arange(len(hidden), device=hidden.device), last_token(input_ids, attention_mask)
        ]
        loss = None if labels is None else cross_entropy(logits, labels.view(-1), reduction)
        return GPT2Output(loss=loss, logits=logits, last_hidden_state=hidden)


def last_token(input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
    """(B,) index of the last real token. Read off the mask: GPT-2 pads with a token that may also end a text."""
    B, T = input_ids.shape
    if attention_mask is None:
        return torch.full((B,), T - 1, device=input_ids.device)
    last = (torch.arange(T, device=attention_mask.device) * attention_mask).argmax(dim=-1)
    return send(last, input_ids.device)

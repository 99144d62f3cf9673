"""Writing: one token after another, each drawn from what the model says of the next one.

Settings have transformers' names and meanings, and what happens to the logits happens in transformers' order, in
float32: repetition penalty, temperature, top_k, top_p, softmax, draw. So one seed gives the same text in both.

Letters in the shapes:  R texts that are written at once   P tokens of the prompt   T tokens so far   V vocabulary
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from gpt2.cache import KeyValueCache
from gpt2.fast import is_fast
from gpt2.fast_step import fast_step
from gpt2.model import GPT2LMHeadModel


class NoNumberError(ValueError):
    """Logits from which no token can be chosen."""

    exit_code = 6


@dataclass(frozen=True)
class GenerationConfig:
    """How to choose the next token. Greedy, the likeliest one, unless `do_sample`; a wrong value is a ValueError."""

    max_new_tokens: int
    do_sample: bool = False
    temperature: float = 1.0  # logits are divided by it: below 1 the likely gets likelier
    top_k: int | None = None  # only the k likeliest tokens
    top_p: float | None = None  # only the likeliest tokens that together have this probability
    repetition_penalty: float = 1.0  # above 1, what has been said gets less likely; the prompt has been said, too
    num_return_sequences: int = 1

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name in ("top_k", "top_p") and value is None:
                continue
            if name == "do_sample":
                fits, what = isinstance(value, bool), "True or False"
            elif name in ("max_new_tokens", "top_k", "num_return_sequences"):
                fits, what = type(value) is int and value > 0, "a whole number above 0"
            else:
                most = 1.0 if name == "top_p" else sys.float_info.max
                fits = type(value) in (int, float) and 0 < value <= most
                what = "a number above 0" + (", at most 1" if name == "top_p" else "")
            if not fits:
                raise ValueError(f"{name} must be {what}, not {value!r}")
        for name, idle in (("temperature", 1.0), ("top_k", None), ("top_p", None), ("num_return_sequences", 1)):
            if not self.do_sample and getattr(self, name) != idle:
                raise ValueError(f"{name}={getattr(self, name)} means something only where tokens are drawn: do_sample")


def generate(
    model: GPT2LMHeadModel, input_ids: Tensor, config: GenerationConfig, seed: int | None = None
) -> "Generation":
    """Continue the prompt `input_ids` (1, P). Nothing is computed before the first step is asked for.

        writing = generate(model, input_ids, config)
        for tokens in writing:  # (R,) at each step
            ...
        writing.ended  # why it is over

    Draws come from torch's global random numbers, as in transformers; or, with a `seed`, from numbers of their own:
    the same ones as after torch.manual_seed(seed), and the global ones stay as they are. Raises ValueError for a prompt
    without a token, or one that leaves no position to write at.
    """
    positions, P = model.config.n_positions, input_ids.shape[-1]
    if input_ids.ndim != 2 or len(input_ids) != 1:
        raise ValueError(f"a prompt is one row of token ids, (1, P), not {tuple(input_ids.shape)}")
    if P == 0:
        raise ValueError("the prompt is empty; to write from nothing, begin with the end token")
    if positions <= P:
        raise ValueError(f"a prompt of {P} tokens leaves nothing to write at: this model has {positions} positions")
    generator = None if seed is None else torch.Generator(input_ids.device).manual_seed(seed)
    return Generation(model, input_ids, config, generator)


def generate_ids(
    model: GPT2LMHeadModel, input_ids: Tensor, config: GenerationConfig, seed: int | None = None
) -> Tensor:
    """Prompt and texts, (R, T), when all is written: what transformers' generate() gives."""
    writing = generate(model, input_ids, config, seed)
    for _ in writing:
        pass
    return writing.ids


class Generation:
    """Texts while they are written; iterating does it. A text that has met the end token is filled up with end tokens.

    `ended` says why it is over: "end token" (all texts have met it), "max_new_tokens", or "n_positions" where the model
    has no further position; until then it is None.
    """

    def __init__(
        self, model: GPT2LMHeadModel, prompt: Tensor, config: GenerationConfig, generator: torch.Generator | None
    ):
        P, R = prompt.shape[1], config.num_return_sequences
        self.asked_for = P + config.max_new_tokens
        most = min(self.asked_for, model.config.n_positions)
        self.model, self.config, self.generator = model, config, generator
        self.ended: str | None = None
        self.length = P
        self._ids = prompt.new_empty(R, most)
        self._ids[:, :P] = prompt
        self._cache = KeyValueCache(model.config, most)
        self._unfinished = torch.ones(R, dtype=torch.bool, device=prompt.device)

    @property
    def ids(self) -> Tensor:
        """(R, T): the prompt and what has been written so far."""
        return self._ids[:, : self.length]

    def __iter__(self) -> Iterator[Tensor]:
        """The next token of each text, (R,), until `ended`. Meanwhile the model is in evaluation mode."""
        training = [module for module in self.model.modules() if module.training]
        self.model.eval()
        next_logits = fast_step(self.model) if is_fast(self.model) else self.model.next_logits
        try:
            while self.ended is None:
                yield self._step(next_logits)
        finally:  # also where the caller has seen enough
            for module in training:
                module.training = True

    @torch.inference_mode()
    def _step(self, next_logits: Callable[[Tensor, KeyValueCache], Tensor]) -> Tensor:
        unseen = self._ids[:, self._cache.length : self.length]  # the prompt, and from then on the last token
        logits = next_logits(unseen, self._cache)  # (R, V)
        tokens = choose(logits.float(), self.ids, self.config, self.generator)
        end = self.model.config.eos_token_id
        if end is not None:
            tokens = torch.where(self._unfinished, tokens, end)
            self._unfinished = tokens != end
        self._ids[:, self.length] = tokens
        self.length += 1
        if not self._unfinished.any():
            self.ended = "end token"
        elif self.length == self._ids.shape[1]:
            self.ended = "n_positions" if self.asked_for > self.length else "max_new_tokens"
        return tokens


def choose(scores: Tensor, ids: Tensor, config: GenerationConfig, generator: torch.Generator | None) -> Tensor:
    """(R,) next tokens from their logits `scores` (R, V) and all tokens so far, `ids` (R, T).

    Raises NoNumberError where the likeliest token's score, divided by the temperature, is no number or infinite.
    """
    if config.repetition_penalty != 1.0:
        said = scores.gather(1, ids)
        said = torch.where(said < 0, said * config.repetition_penalty, said / config.repetition_penalty)
        scores = scores.scatter(1, ids, said)
    if not torch.isfinite(scores.max() / config.temperature):
        raise NoNumberError(
            "what the model says of the next token is no number; damaged weights or a tiny temperature?"
        )
    if not config.do_sample:
        return scores.argmax(dim=-1)
    if config.temperature != 1.0:
        scores = scores / config.temperature
    if config.top_k is not None:
        least = scores.topk(min(config.top_k, scores.shape[1])).values[:, -1:]
        scores = scores.masked_fill(scores < least, -torch.inf)
    if config.top_p is not None and config.top_p < 1.0:
        rising, order = scores.sort(dim=-1)
        out = rising.softmax(dim=-1).cumsum(dim=-1) <= 1 - config.top_p
        out[:, -1] = False  # the likeliest stays, however little is asked for
        scores = scores.masked_fill(out.scatter(1, order, out), -torch.inf)
    return torch.multinomial(scores.softmax(dim=-1), num_samples=1, generator=generator).squeeze(1)

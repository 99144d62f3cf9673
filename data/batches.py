"""Texts into batches of tensors: token ids, right padding, and an order of rows that depends on nothing hidden."""

import functools
import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

IGNORED = -100  # the label that torch's cross_entropy leaves out
# Texts and characters: until they are cut down to ids, the tokenizer's encodings take some 100 bytes a character.
_AT_ONCE, _CHARACTERS = 1000, 2_000_000
# Of a long text only a head is tokenised: so many characters a token to begin with, up to where a word ends.
_PER_TOKEN, _LONGEST_WORD, _SPARE_TOKENS = 16, 100_000, 100
_WORD_ENDS = re.compile(r"\S ")  # GPT-2's pre-tokenizer parts the two whatever stands around them


class Encoder(Protocol):
    """What is needed of a tokenizer."""

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]: ...


@dataclass(frozen=True)
class Batch:
    input_ids: Tensor  # (B, T) int64
    attention_mask: Tensor  # (B, T) int64: 1 for a token, 0 for padding
    labels: Tensor | None  # (B,) int64 for rows with labels, (B, T) for texts; IGNORED where nothing is to be said

    @functools.cached_property
    def tokens(self) -> int:
        """Real tokens, padding not counted."""
        return int(self.attention_mask.sum())

    @functools.cached_property
    def counted(self) -> int:
        """What a step's loss is divided by: rows that count, or target tokens."""
        return int((self.labels != IGNORED).sum())

    @property
    def rows(self) -> int:
        """Rows that count, where a row has one label."""
        return self.counted

    def to(self, device: torch.device) -> "Batch":
        """Ids and rows' labels on `device`. The mask stays, and so do texts' labels: the models read where rows end and
        where targets stand, which must not wait for all that a GPU was given before.
        """
        labels = self.labels if self.labels is None or self.labels.dim() > 1 else _send(self.labels, device)
        sent = Batch(_send(self.input_ids, device), self.attention_mask, labels)
        if labels is not None:
            vars(sent)["counted"] = self.counted  # counted there it would wait
        return sent


def _send(tensor: Tensor, device: torch.device) -> Tensor:
    """From the CPU to a GPU without waiting for what it is still doing, which takes memory that stays where it is."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def encode(tokenizer: Encoder, texts: Sequence[str], max_length: int) -> tuple[list[array], int]:
    """Token ids of each text, cut to `max_length`, and how many texts were cut.

    Time and memory go with `max_length`, not with a text that is far longer.
    """
    ids, cut = [], 0
    for portion in _portions(texts):
        heads = [_head(text, _PER_TOKEN * max_length) for text in portion]
        for text, head, row in zip(portion, heads, tokenizer.encode_batch(heads)):
            while len(head) < len(text) and len(row) < max_length + _SPARE_TOKENS:
                head = _head(text, 2 * len(head))
                row = tokenizer.encode_batch([head])[0]
            cut += len(row) > max_length
            ids.append(array("i", row[:max_length]))  # 4 bytes an id; a list of Python's numbers takes 36
    return ids, cut


def _head(text: str, size: int) -> str:
    """`text` up to the first end of a word after `size` characters: its tokens are the first ones of the whole text.

    A word that goes on for _LONGEST_WORD more is cut inside. Its last tokens may then be others, but not those more
    than _SPARE_TOKENS before the cut: what two letters become depends on their neighbours, not on a page of them.
    """
    if len(text) <= size:
        return text
    end = _WORD_ENDS.search(text, size, size + _LONGEST_WORD)
    return text[: end.start() + 1 if end else size + _LONGEST_WORD]


def _portions(texts: Sequence[str]) -> Iterator[list[str]]:
    portion, size = [], 0
    for text in texts:
        if portion and (len(portion) == _AT_ONCE or size + len(text) > _CHARACTERS):
            yield portion
            portion, size = [], 0
        portion.append(text)
        size += len(text)
    if portion:
        yield portion


@functools.lru_cache(maxsize=1)
def epoch_order(n: int, seed: int, epoch: int) -> tuple[int, ...]:
    """The order of `n` rows in an epoch: a pure function, so that a resumed run meets the rows it would have met."""
    return tuple(torch.randperm(n, generator=torch.Generator().manual_seed(seed + epoch)).tolist())


def collate(ids: Sequence[Sequence[int]], pad_token_id: int, labels: Sequence[int] | None = None) -> Batch:
    """Rows padded on the right to the longest: `[[5, 6], [7]]` -> ids `[[5, 6], [7, pad]]`, mask `[[1, 1], [1, 0]]`."""
    width = max(len(row) for row in ids)
    input_ids = torch.full((len(ids), width), pad_token_id, dtype=torch.long)
    attention_mask = torch.zeros((len(ids), width), dtype=torch.long)
    for i, row in enumerate(ids):
        input_ids[i, : len(row)] = torch.tensor(row, dtype=torch.long)
        attention_mask[i, : len(row)] = 1
    return Batch(input_ids, attention_mask, None if labels is None else torch.tensor(labels, dtype=torch.long))


def by_length(ids: Sequence[Sequence[int]], batch_size: int) -> Iterator[list[int]]:
    """Row numbers in batches of similar length, the longest first: little padding; too little memory shows at once."""
    order = sorted(range(len(ids)), key=lambda row: -len(ids[row]))
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]

"""Documents as token ids in windows that a model can hold, and batches of them: the labels are the tokens themselves.

A document is read as end-of-text, prompt, text, end-of-text. The first one is what GPT-2 saw between two documents and
makes the first real token something to predict; the last one teaches where a text ends.
"""

import sys
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from data.batches import IGNORED, Batch, Encoder, collate, encode
from data.documents import Document
from data.reading import DataError


@dataclass(frozen=True)
class Window:
    """`ids[first_target:]` are to be predicted, each from the ids before it; those before are context alone."""

    ids: array  # of at most max_length token ids
    first_target: int  # 1 at least: nothing stands before the first id to predict it from
    document: int  # the number of the document it is part of

    @property
    def targets(self) -> array:
        return self.ids[self.first_target :]


def make_windows(
    tokenizer: Encoder, documents: Sequence[Document], numbers: Sequence[int], *, eos_token_id: int, max_length: int
) -> list[Window]:
    """The windows of the documents with these numbers, in this order.

    Prompt and text are tokenised apart, so that a prompt alone, when the model is to write, has the same ids.
    """
    if max_length < 2:
        raise DataError(f"max_length {max_length}: a window holds a token and the next one, so 2 at least")
    prompts, _ = encode(tokenizer, [documents[number].prompt for number in numbers], sys.maxsize)
    texts, _ = encode(tokenizer, [documents[number].text for number in numbers], sys.maxsize)
    windows: list[Window] = []
    for number, prompt, text in zip(numbers, prompts, texts):
        ids = array("i", [eos_token_id, *prompt, *text, eos_token_id])
        windows += cut_into_windows(ids, 1 + len(prompt), max_length, number)
    return windows


def cut_into_windows(ids: array, first_target: int, max_length: int, document: int = 0) -> Iterator[Window]:
    """`ids[first_target:]` as targets, each in one window and none left out.

    A window begins with the last token of the one before, from which its first target is predicted:
    `[e, 1, 2, 3, e]` by 3 -> `[e, 1, 2]`, `[2, 3, e]`. Windows that would hold a prompt alone are left out: of a
    prompt that is longer than a window, the text still sees the end.
    """
    for start in range(0, len(ids), max_length - 1):
        window = ids[start : start + max_length]
        first = max(1, first_target - start)
        if first < len(window):
            yield Window(window, first, document)


def collate_windows(windows: Sequence[Window], pad_token_id: int) -> Batch:
    """Windows padded on the right to the longest; labels (B, T) are the ids, IGNORED where no target stands.

    The labels are not shifted: as in transformers, the model compares what it says at one place with the next label.
    Padding is known by the windows' lengths. It is often the same token as the end, which is to be learned.
    """
    batch = collate([window.ids for window in windows], pad_token_id)
    labels = torch.full_like(batch.input_ids, IGNORED)
    for row, window in enumerate(windows):
        target = slice(window.first_target, len(window.ids))
        labels[row, target] = batch.input_ids[row, target]
    return Batch(batch.input_ids, batch.attention_mask, labels)

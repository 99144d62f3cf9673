"""Exercise 10: rows with the end-of-text token inside, at the end, and nowhere; against gpt2/model.py's last_token."""

from collections.abc import Callable

import torch
from torch import Tensor

from exercises.judge import compare
from gpt2.model import last_token

TITLE = "Pool the right token"
CHAPTER = "docs/09-classification.md"
HINT = "attention_mask.sum(dim=1) - 1 is a column number for each row; hidden[torch.arange(B), columns] picks them."
SEE = "gpt2/model.py, last_token"
EOS = 9
IDS = torch.tensor([[1, 2, 3, EOS, EOS, EOS], [4, EOS, 5, 6, EOS, EOS], [7, 8, 1, 2, 3, 4], [5, 6, EOS, EOS, EOS, EOS]])
MASK = torch.tensor([[1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0]])


def at(column: Callable[[Tensor, Tensor, int], Tensor]) -> Callable:
    """A pooling that picks column(input_ids, mask, pad) of each row."""
    return lambda hidden, ids, mask, pad: hidden[torch.arange(len(hidden)), column(ids, mask, pad)]


def rightmost_not_pad(ids: Tensor, mask: Tensor, pad: int) -> Tensor:
    return (torch.arange(ids.shape[1]) * (ids != pad)).argmax(dim=1)


MISTAKES = {
    "that is the last column: in every shorter row it is padding": lambda hidden, ids, mask, pad: hidden[:, -1],
    "that is the first token: it has seen nothing of the text": lambda hidden, ids, mask, pad: hidden[:, 0],
    "you look for the first pad_token_id: a text may hold it inside, and then half of it goes unread": at(
        lambda ids, mask, pad: (ids == pad).int().argmax(dim=1) - 1
    ),
    "you count the ids that are not pad_token_id: one inside the text moves the count": at(
        lambda ids, mask, pad: (ids != pad).sum(dim=1) - 1
    ),
    "you take the last id that is not pad_token_id: a text may end in it; the mask knows": at(rightmost_not_pad),
    "one too far: mask.sum() counts from 1, columns from 0, so you pool the first pad": at(
        lambda ids, mask, pad: mask.sum(dim=1).clamp(max=mask.shape[1] - 1)
    ),
    "one too far: mask.sum() counts from 1, columns from 0, and a full row has no such column": at(
        lambda ids, mask, pad: mask.sum(dim=1)
    ),
    "that is the mean over all columns: padding is in it": lambda hidden, ids, mask, pad: hidden.mean(dim=1),
    "that is the mean of the real tokens: GPT-2's classifier reads the last one, which has seen all others": (
        lambda hidden, ids, mask, pad: (hidden * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
    ),
}


def check(pool: Callable) -> None:
    hidden = torch.randn(*IDS.shape, 3)
    cases = {
        "pool(four rows, two with pad_token_id as a real token)": (hidden, IDS, MASK, EOS),
        "pool(one row without padding)": (hidden[:1], IDS[2:3], MASK[2:3], EOS),
    }
    right = at(lambda ids, mask, pad: last_token(ids, mask))
    compare(pool, right, cases, MISTAKES)

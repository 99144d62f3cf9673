"""Exercise 8: rows of unequal length, one that ends in the end-of-text token; against GPT2LMHeadModel's own loss."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from exercises.judge import compare
from gpt2.model import cross_entropy

TITLE = "The loss after a prompt"
CHAPTER = "docs/06-writing.md"
HINT = "Put -100 where no target stands, then compare logits[:, :-1] with labels[:, 1:]; cross_entropy leaves -100 out."
SEE = "gpt2/model.py, GPT2LMHeadModel"
EOS = 6
IDS = torch.tensor([[1, 2, 3, 4, 5, EOS], [2, 5, 1, EOS, EOS, EOS], [4, 3, 2, 1, EOS, EOS]])
MASK = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 0, 0]])
PROMPTS = torch.tensor([2, 1, 3])
Targets = Callable[[Tensor, Tensor, Tensor], Tensor]  # ids, mask, prompt lengths -> (B, T), True for a target


def targets(ids: Tensor, mask: Tensor, prompts: Tensor) -> Tensor:
    return (torch.arange(ids.shape[1]) >= prompts[:, None]) & mask.bool()


def with_targets(chosen: Targets, reduction: str = "mean") -> Callable:
    """The loss over the targets that `chosen` names."""

    def loss(logits: Tensor, ids: Tensor, mask: Tensor, prompts: Tensor) -> Tensor:
        labels = ids.where(chosen(ids, mask, prompts), -100)
        return cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), reduction)

    return loss


def unshifted(logits: Tensor, ids: Tensor, mask: Tensor, prompts: Tensor) -> Tensor:
    labels = ids.where(targets(ids, mask, prompts), -100)
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten())


def backwards(logits: Tensor, ids: Tensor, mask: Tensor, prompts: Tensor) -> Tensor:
    labels = ids.where(targets(ids, mask, prompts), -100)
    return F.cross_entropy(logits[:, 1:].flatten(0, 1), labels[:, :-1].flatten())


def mean_of_means(logits: Tensor, ids: Tensor, mask: Tensor, prompts: Tensor) -> Tensor:
    rows = [with_targets(targets)(*(x[i : i + 1] for x in (logits, ids, mask, prompts))) for i in range(len(ids))]
    return torch.stack(rows).mean()


def by_the_batch(logits: Tensor, ids: Tensor, mask: Tensor, prompts: Tensor) -> Tensor:
    return with_targets(targets, "sum")(logits, ids, mask, prompts) / ids[:, 1:].numel()


MISTAKES = {
    "nothing is shifted: logits at t are compared with token t, which the model has just read": unshifted,
    "shifted the wrong way: logits at t are the guess at token t + 1, not at t - 1": backwards,
    "the prompt is among the targets": with_targets(lambda ids, mask, prompts: mask.bool()),
    "padding is among the targets": with_targets(
        lambda ids, mask, prompts: torch.arange(ids.shape[1]) >= prompts[:, None]
    ),
    "prompt and padding are among the targets": with_targets(lambda ids, mask, prompts: torch.ones_like(ids) > 0),
    "one too few: the first token after the prompt is a target, guessed at the prompt's last position": with_targets(
        lambda ids, mask, prompts: (torch.arange(ids.shape[1]) > prompts[:, None]) & mask.bool()
    ),
    "one too many: the prompt's last token is not a target": with_targets(
        lambda ids, mask, prompts: (torch.arange(ids.shape[1]) >= prompts[:, None] - 1) & mask.bool()
    ),
    "you leave out every end-of-text token: the real one at the end teaches the model to stop; ask the mask": (
        with_targets(lambda ids, mask, prompts: targets(ids, mask, prompts) & (ids != EOS))
    ),
    "that is a mean of the rows' means: a short answer then weighs as much as a long one": mean_of_means,
    "that is the sum: divide by the number of targets": with_targets(targets, "sum"),
    "the sum is right, but you divide by all positions: count the targets alone": by_the_batch,
}


def check(answer_loss: Callable) -> None:
    logits = 2 * torch.randn(*IDS.shape, EOS + 1)
    cases = {
        "answer_loss(three rows with prompts of 2, 1 and 3 tokens)": (logits, IDS, MASK, PROMPTS),
        "answer_loss(one row without padding)": (logits[:1], IDS[:1], MASK[:1], PROMPTS[:1]),
    }
    compare(answer_loss, with_targets(targets), cases, MISTAKES)

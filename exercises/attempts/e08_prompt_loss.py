"""Exercise 8: the loss of what comes after a prompt. Chapter: docs/06-writing.md, "What a target is"."""

import torch


def answer_loss(
    logits: torch.Tensor, input_ids: torch.Tensor, attention_mask: torch.Tensor, prompt_lengths: torch.Tensor
) -> torch.Tensor:
    """The mean loss, in nats, of the tokens after each row's prompt.

    logits          (B, T, V): at position t they are the guess at token t + 1
    input_ids       (B, T), padded on the right
    attention_mask  (B, T): 1 for a real token, 0 for padding
    prompt_lengths  (B,), at least 1: the first so many tokens of a row are its prompt
    returns         a scalar: the sum over all targets, divided by their number in all rows together

    A target is a real token that stands after the prompt. The first of them counts, and so does a real end-of-text
    token at the end: it is what teaches a model to stop. With a prompt of 2 in a row of 5 real tokens there are 3
    targets, and the first of them is guessed at position 1.
    """
    raise NotImplementedError("yours to write: return the mean loss of the tokens after the prompts, a scalar")

"""Exercise 10: pool the right token. Chapter: docs/09-classification.md, "Which token speaks for the text"."""

import torch


def pool(
    hidden: torch.Tensor, input_ids: torch.Tensor, attention_mask: torch.Tensor, pad_token_id: int
) -> torch.Tensor:
    """The hidden state of each row's last real token.

    hidden          (B, T, D)
    input_ids       (B, T), padded on the right with pad_token_id
    attention_mask  (B, T): 1 for a real token, 0 for padding
    returns         (B, D)

    GPT-2 has no token of its own for padding and pads with its end-of-text token, so pad_token_id may stand inside a
    text, or end it, as a real token. For a mask row [1, 1, 1, 0, 0] the answer is hidden[row, 2].
    """
    raise NotImplementedError("yours to write: return the hidden state of each row's last real token, (B, D)")

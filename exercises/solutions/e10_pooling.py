"""Exercise 10: the mask knows what is padding; the ids do not."""

import torch


def pool(
    hidden: torch.Tensor, input_ids: torch.Tensor, attention_mask: torch.Tensor, pad_token_id: int
) -> torch.Tensor:
    last = attention_mask.sum(dim=1) - 1
    return hidden[torch.arange(len(hidden)), last]

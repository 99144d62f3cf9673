"""The fast form of the language model's head, for the few rows of a step in which the model writes.

Such a step waits for memory: every weight of the model is read for one token, and the head's V D are a third of them.
Letters as in model.py.
"""

import torch
from torch import Tensor, nn

FEW = 6  # rows; from about eight on nn.Linear's way round is as fast


class FastLMHead(nn.Linear):
    """nn.Linear, but a few rows on a CPU are multiplied the other way round: W x^T instead of x W^T.

    With MKL that takes two thirds of the time for one row, and a third for two or three; but a single column would take
    as long as ever, so one row goes in twice.
    """

    def forward(self, x: Tensor) -> Tensor:  # (..., D) -> (..., V)
        rows = x.reshape(-1, self.in_features)
        if len(rows) > FEW or x.device.type != "cpu" or torch.is_grad_enabled():
            return super().forward(x)
        if len(rows) == 1:
            # A copy: of two rows that share their memory, and of columns side by side, the product takes far longer.
            rows = rows.expand(2, -1).contiguous()
        y = (self.weight @ rows.T).T[: x.numel() // self.in_features]
        return y.reshape(*x.shape[:-1], self.out_features)

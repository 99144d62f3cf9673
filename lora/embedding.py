"""LoRA on an embedding: the same update for a layer that looks rows up instead of multiplying.

    h = W0[x] + (lora_alpha / r) (A^T[x]) B^T          as in peft; W0 is (in, out) = (vocabulary, width)

A token's one-hot vector times A is a column of A, so A x is a lookup too. Here A starts at zero and B at random, the
other way round than in layer.py: of A a step moves only the columns of the tokens it has seen, and they can do so from
the first step on. There is no dropout: peft has none here, since the input is no vector.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lora.layer import LoraLayer


class LoraEmbedding(LoraLayer):
    """Wraps an nn.Embedding. A is (r, vocabulary) and B is (width, r), parameters under peft's names."""

    def __init__(self, base_layer: nn.Embedding):
        super().__init__(base_layer)
        del self.lora_A, self.lora_B
        self.lora_embedding_A = nn.ParameterDict()
        self.lora_embedding_B = nn.ParameterDict()

    @staticmethod
    def wraps(layer: nn.Module) -> bool:
        return isinstance(layer, nn.Embedding)

    def forward(self, ids: Tensor) -> Tensor:  # (...) -> (..., width)
        h = self.base_layer(ids)
        dtype, base = h.dtype, self.base_layer
        for name in self.adapters_in_use():
            A, B = self.lora_embedding_A[name], self.lora_embedding_B[name]
            # what the base layer does to its own gradient, peft does to A's
            u = F.embedding(ids, A.T, base.padding_idx, base.max_norm, base.norm_type, base.scale_grad_by_freq)
            h = h + (u @ B.T) * self.scaling[name]
        return h.to(dtype)

    def add_adapter(self, name: str, r: int, scaling: float, dropout: float, init: bool | str = True) -> None:
        """A new pair A, B. The random draws are peft's, in peft's order: A, B, and unless `init` is False B again."""
        A, B = torch.randn(r, self.in_features), torch.randn(self.out_features, r)
        if init:
            A.zero_(), B.normal_()
        W0 = self.base_layer.weight
        for part, value in ((self.lora_embedding_A, A), (self.lora_embedding_B, B)):
            rounded = value.to(W0.device, W0.dtype).to(torch.promote_types(W0.dtype, torch.float32))
            part[name] = nn.Parameter(rounded)
        self.lora_dropout[name] = nn.Identity()
        self.scaling[name] = scaling

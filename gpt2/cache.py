"""What attention has computed of the tokens before, so that a model that writes computes each token once.

A later token never changes what an earlier one gives, so keys and values of earlier tokens can be kept. There is room
for all of them from the start: nothing that is kept is copied again when a token is added.

Letters in the shapes:  B rows   H heads   T new tokens   S tokens so far, the new ones included   E = D/H
"""

from torch import Tensor

from gpt2.config import GPT2Config


class BlockCache:
    """The keys and values of one block, each (B, H, capacity, E); the first `length` tokens of them are filled."""

    def __init__(self, capacity: int):
        self.capacity, self.length = capacity, 0
        self.keys: Tensor | None = None
        self.values: Tensor | None = None

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:  # (B, H, T, E) -> (B, H, S, E)
        """Keep the keys and values of T new tokens, and give back all there are, as views."""
        if self.keys is None:  # only now are rows, dtype and device known
            B, H, _, E = k.shape
            self.keys, self.values = k.new_empty(B, H, self.capacity, E), v.new_empty(B, H, self.capacity, E)
        start, end = self.length, self.length + k.shape[2]
        if self.capacity < end:
            raise ValueError(f"{end} tokens, but the cache has room for {self.capacity}")
        self.keys[:, :, start:end] = k
        self.values[:, :, start:end] = v
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]


class KeyValueCache:
    """One BlockCache for each block of a model: `model(input_ids, cache=cache)` adds to it, and counts on from it.

    It serves one batch of texts and passes without gradients, and is worth nothing once a weight has changed.
    `capacity` is the number of tokens there is room for, at most and by default `n_positions`.
    """

    def __init__(self, config: GPT2Config, capacity: int | None = None):
        self.capacity = config.n_positions if capacity is None else min(capacity, config.n_positions)
        self.blocks = [BlockCache(self.capacity) for _ in range(config.n_layer)]

    @property
    def length(self) -> int:
        """The number of tokens kept; the next one stands at this position."""
        return self.blocks[-1].length

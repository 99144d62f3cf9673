"""Which rows a step takes: all rows once an epoch, in an order that depends on the seed and the epoch alone."""

from dataclasses import dataclass
from typing import Any, Protocol

import data
from training.distributed import Ranks


class Rows(Protocol):
    """What is learned from: data.Task's labelled rows, or language.Windows."""

    split: data.Split

    def micro_batches(self, rows: list[int], batch_size: int) -> list[Any]: ...

    def tokens(self, rows: list[int]) -> int: ...


@dataclass(frozen=True)
class Step:
    batches: list[Any]  # of this process
    rows: int  # of all processes, as are the tokens
    tokens: int
    begins_epoch: bool = False
    ends_epoch: bool = False


class Epochs:
    """The steps of a run, each a pure function of its number: a resumed run meets the rows it would have met."""

    def __init__(self, rows: Rows, config: Any, ranks: Ranks):
        self.rows, self.ranks, self.seed = rows, ranks, config.seed
        self.batch_size = config.per_device_train_batch_size
        self.rows_per_step = self.batch_size * config.gradient_accumulation_steps * ranks.size
        self.per_epoch = -(-len(rows.split.train) // self.rows_per_step)
        self.total = config.max_steps if config.max_steps > 0 else config.num_train_epochs * self.per_epoch

    def step(self, number: int) -> Step:
        """Step `number`, counted from 0. With several processes each has its share of the step's rows."""
        epoch, at = divmod(number, self.per_epoch)
        train = self.rows.split.train
        order = data.epoch_order(len(train), self.seed, epoch)
        rows = [train[i] for i in order[at * self.rows_per_step : (at + 1) * self.rows_per_step]]
        batches = self.rows.micro_batches(list(self.ranks.share(rows)), self.batch_size)
        return Step(batches, len(rows), self.rows.tokens(rows), at == 0, at + 1 == self.per_epoch)

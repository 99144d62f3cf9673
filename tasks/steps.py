"""Which rows a step takes: all rows once an epoch, in an order that depends on the seed and the epoch alone."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import data
from training.distributed import Ranks
from training.errors import NonFiniteError

MOST = 8  # rows of a step that are named


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
    numbers: tuple[int, ...] = ()  # which rows they are, of all processes


@contextlib.contextmanager
def naming(number: int, step: Step, task: Any) -> Iterator[None]:
    """A NonFiniteError inside it says in which step it was, and where that step's rows stand."""
    try:
        yield
    except NonFiniteError as error:
        places = task.whereabouts(step.numbers[:MOST]) if step.numbers else []
        files = [place.rpartition(":")[0] for place in places]
        shown = [p.removeprefix(f) if f == before else p for p, f, before in zip(places, files, ["", *files])]
        more = f" and {len(step.numbers) - MOST} more" * (len(step.numbers) > MOST)
        rows = f"; its rows: {', '.join(shown)}{more}" * bool(places)  # messages.tsv:12, :9, :40 and 24 more
        raise NonFiniteError(f"step {number}: {error}{rows}") from None


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
        return Step(batches, len(rows), self.rows.tokens(rows), at == 0, at + 1 == self.per_epoch, tuple(rows))

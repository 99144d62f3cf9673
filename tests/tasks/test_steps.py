"""Which rows a step takes: all once an epoch, each on one process, and nothing but the step's number decides."""

from dataclasses import dataclass, field

import pytest

import data
from tasks.steps import Epochs
from training.distributed import Ranks


@dataclass
class Numbers:
    """Rows that are their own numbers, and as many tokens each."""

    split: data.Split = field(default_factory=lambda: data.Split(list(range(100, 123)), [7], [8]))

    def micro_batches(self, rows, batch_size):
        return [tuple(rows[at : at + batch_size]) for at in range(0, len(rows), batch_size)]

    def tokens(self, rows):
        return sum(rows)


@dataclass
class Config:
    seed: int = 3
    per_device_train_batch_size: int = 4
    gradient_accumulation_steps: int = 2
    num_train_epochs: int = 3
    max_steps: int = -1


def epochs(rank=0, size=1, **changes) -> Epochs:
    return Epochs(Numbers(), Config(**changes), Ranks(rank, size))


def rows_of(step) -> list[int]:
    return [row for batch in step.batches for row in batch]


@pytest.mark.promise("P4")
def test_an_epoch_has_each_training_row_once_and_no_other():
    every = epochs()
    assert (every.per_epoch, every.total) == (3, 9)
    orders = [[row for n in range(3 * e, 3 * e + 3) for row in rows_of(every.step(n))] for e in range(3)]
    assert all(sorted(order) == list(range(100, 123)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3, "each epoch in an order of its own"


def test_a_step_knows_its_size_and_where_in_the_epoch_it_is():
    steps = [epochs().step(n) for n in range(6)]
    assert [[len(batch) for batch in step.batches] for step in steps] == [[4, 4], [4, 4], [4, 3]] * 2
    assert [step.rows for step in steps] == [8, 8, 7] * 2
    assert all(step.tokens == sum(rows_of(step)) for step in steps)
    assert [step.begins_epoch for step in steps] == [True, False, False] * 2
    assert [step.ends_epoch for step in steps] == [False, False, True] * 2


def test_a_step_is_the_same_whatever_was_asked_for_before():
    forwards, one = epochs(), epochs()
    want = [forwards.step(n) for n in range(9)]
    assert [one.step(n) for n in reversed(range(9))] == want[::-1]
    assert [epochs().step(n) for n in (5, 5, 0)] == [want[5], want[5], want[0]]
    assert rows_of(epochs(seed=4).step(0)) != rows_of(want[0])


@pytest.mark.promise("P4")
@pytest.mark.parametrize("size", [2, 3, 8])
def test_the_processes_share_the_rows_that_one_process_would_take(size):
    """Those of one process whose batches are `size` times as large; each row in one share, the shares of one size."""
    alone = epochs(per_device_train_batch_size=4 * size)
    for n in range(alone.per_epoch):
        shares = [epochs(rank, size).step(n) for rank in range(size)]
        rows = [row for share in shares for row in rows_of(share)]
        assert sorted(rows) == sorted(rows_of(alone.step(n))) and len(set(rows)) == len(rows)
        sizes = [len(rows_of(share)) for share in shares]
        assert max(sizes) - min(sizes) <= 1
        assert {(s.rows, s.tokens) for s in shares} == {(len(rows), sum(rows))}, "those of all processes"


def test_a_number_of_steps_goes_before_epochs():
    assert epochs(max_steps=5).total == 5 and epochs(max_steps=100).total == 100
    assert epochs(num_train_epochs=2).total == 6

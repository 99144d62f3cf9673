"""Invented runs: each row once an epoch, on one process, whatever the numbers are and wherever a run was stopped."""

from dataclasses import dataclass

import pytest

import data
from tasks.steps import Epochs
from tests.strangers.fuzzing import examples, hypothesis
from training.distributed import Ranks

given, st = hypothesis.given, hypothesis.strategies


@dataclass
class Config:
    per_device_train_batch_size: int
    gradient_accumulation_steps: int
    num_train_epochs: int
    seed: int
    max_steps: int = -1


def task_of(n: int) -> data.Task:
    """Row number i of n is the one token i + 1; every third row tests."""
    dataset = data.TextDataset("numbers", [str(i) for i in range(n)], [i % 2 for i in range(n)], ["even", "odd"])
    held = [i for i in range(n) if i % 3 == 2]
    split = data.Split([i for i in range(n) if i % 3 != 2], [], held)
    return data.Task(dataset, split, [[i + 1] for i in range(n)], 8, 0, 0, pad_token_id=0)


def rows_of(step) -> list[int]:
    """The rows that count, read off the tensors."""
    ids = [id for batch in step.batches for id, label in zip(batch.input_ids[:, 0].tolist(), batch.labels.tolist())
           if label != data.IGNORED]  # fmt: skip
    return [id - 1 for id in ids]


@pytest.mark.promise("P4")
def test_each_row_counts_once_an_epoch_on_any_number_of_processes_however_often_a_run_is_stopped():
    @examples()
    @given(
        n=st.integers(1, 70), batch=st.integers(1, 9), accumulation=st.integers(1, 4), size=st.integers(1, 5),
        epochs=st.integers(1, 3), seed=st.integers(0, 2**63 - 1), stops=st.sets(st.integers(0, 200)),
    )  # fmt: skip
    def check(n, batch, accumulation, size, epochs, seed, stops):
        task, config = task_of(n), Config(batch, accumulation, epochs, seed)
        seen = []
        totals = set()
        for rank in range(size):
            run = Epochs(task, config, Ranks(rank, size))
            totals.add(run.total)
            for number in range(run.total):
                if number in stops:  # a new process goes on from here
                    data.batches.epoch_order.cache_clear()
                    run = Epochs(task, config, Ranks(rank, size))
                step = run.step(number)
                assert 1 <= len(step.batches) <= accumulation and all(len(b.input_ids) <= batch for b in step.batches)
                seen += [(number // run.per_epoch, row) for row in rows_of(step)]
        assert len(totals) == 1, "all processes make the same number of steps"
        assert sorted(seen) == [(epoch, row) for epoch in range(epochs) for row in sorted(task.split.train)]

    check()

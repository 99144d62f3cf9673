"""What one process can see of several: fair shares, a device for each, and nothing changed when alone."""

import os

import pytest
import torch
import torch.distributed as dist
from torch import nn

from training.device import choose_place
from training.distributed import Ranks, current_ranks, run_together, sum_gradients
from training.errors import UsageError
from training.exact import check_exact


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("n", [0, 1, 2, 6, 7, 8, 41])
def test_each_item_is_in_one_share_and_sizes_differ_by_one_at_most(n, size):
    shares = [list(Ranks(rank, size).share(range(n))) for rank in range(size)]
    assert sorted(sum(shares, [])) == list(range(n))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_dropout_seeds_differ_between_ranks_and_from_those_of_neighbouring_runs():
    seeds = [Ranks(rank, 4).seed(seed) for rank in range(4) for seed in range(100)]
    assert len({seed % 2**32 for seed in seeds}) == 400, "torch's CPU generator looks at 32 bits"
    assert Ranks(0, 4).seed(42) == 42


def test_alone_everything_is_handed_back_as_it_came():
    alone, model = choose_place("cpu").ranks, nn.Linear(2, 2)
    assert alone == Ranks() and alone.is_main and alone.launcher == "python"
    assert alone.parallel(model) is model
    assert (alone.sum(0.1), alone.max(3), alone.everyone("x")) == (0.1, 3, ["x"])
    with sum_gradients(model, now=False):
        alone.wait()
    assert run_together(lambda number: number + 1, lambda: 4) == 5


@pytest.mark.parametrize(("device", "gpus"), [("mps", 0), ("cuda", 1)])
def test_more_processes_than_gpus_are_refused(monkeypatch, device, gpus):
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="2 processes cannot share 1 GPU; use --device cpu"):
        current_ranks(device)


def test_exact_mode_is_refused_for_several_processes():
    check_exact("fp32", 1)
    with pytest.raises(UsageError, match="--exact on 2 processes"):
        check_exact("fp32", 2)


def test_a_scheduler_that_sets_world_size_alone_does_not_make_processes_wait(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert run_together(lambda _: os.getpid(), lambda: None) == os.getpid()

"""Memory that is kept: the pages a loop has once touched are there the next time round."""

import sys

import pytest
import torch

from tests.fresh import last_line
from training.heap import keep_heap

LOOP = """
import resource, sys, torch
from training.heap import keep_heap
if sys.argv[1] == "kept":
    assert len(keep_heap(torch.device("cpu"))) == 1
def step():
    held = [torch.ones(megabytes << 18) for megabytes in (1, 9, 3, 12, 6, 20, 2, 15)]
    held += [tensor * 2 for tensor in held]
    while held:
        held.pop()
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the allocator that is tuned is Linux's")
def test_what_was_freed_is_used_again_without_asking_the_kernel():
    kept, not_kept = (int(last_line(LOOP, how)) for how in ("kept", "not kept"))
    assert 3 * kept < not_kept


def test_on_another_device_malloc_stays_as_it_is():
    assert keep_heap(torch.device("cuda")) == []


def test_another_malloc_is_left_alone(monkeypatch):
    monkeypatch.setattr("training.heap.ctypes.CDLL", lambda name: object())  # as with musl: no mallopt in it
    assert keep_heap(torch.device("cpu")) == []

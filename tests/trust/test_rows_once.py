"""Each row exactly once per epoch, whenever and however often a run is killed; and no state is taken up in part."""

import json
import os
import random
import signal
import time
from collections import Counter

import pytest
import torch

from tests.trust import plans, trees
from tests.trust.conftest import RESUME
from tests.trust.server import plan
from tests.trust.taking_up import change_tensors, reseal, take_up

pytestmark = pytest.mark.slow
SEED = int(os.environ.get("TRUST_SEED") or time.time_ns() % 2**32)
STEP_20 = "run/checkpoints/step-000020"


@pytest.mark.promise("P4")
def test_each_row_is_met_once_in_each_epoch_over_ten_kills_at_random_steps(server, flags, whole, tmp_path):
    print(f"TRUST_SEED={SEED}")
    draw = random.Random(SEED)
    for number in range(5):
        cwd, argv = tmp_path / str(number), flags
        cwd.mkdir()
        watch = plan(plans.write_rows, cwd / "rows.jsonl")
        for _ in range(2):
            killed = plan(plans.die_at, "step", draw.randint(1, 12))  # of the 24
            server.run(argv, cwd, watch, killed, expect=-signal.SIGKILL)
            argv = RESUME
        server.run(RESUME, cwd, watch)
        assert trees.ending(cwd / "run") == whole
        rows_of: dict[int, list[int]] = {}
        for line in (cwd / "rows.jsonl").read_text().splitlines():
            step, rows = json.loads(line)
            assert rows_of.setdefault(step, rows) == rows, "a step that is made again takes the same rows"
        assert sorted(rows_of) == list(range(24))
        epochs = [Counter(row for step in range(at, at + 8) for row in rows_of[step]) for at in (0, 8, 16)]
        assert all(set(epoch.values()) == {1} and len(epoch) == 45 for epoch in epochs), epochs
        assert epochs[0] == epochs[1] == epochs[2]


def no_rng(checkpoint):
    (checkpoint / "rng.safetensors").unlink()
    reseal(checkpoint)


def shorter_rng(checkpoint):
    change_tensors(checkpoint / "rng.safetensors", lambda tensors: tensors.update(cpu=tensors["cpu"][:100].clone()))


def of_another_device(checkpoint):
    change_tensors(checkpoint / "rng.safetensors", lambda tensors: tensors.update(cuda=tensors["cpu"].clone()))


def first(tensors, ending):
    return next(name for name in tensors if name.endswith(ending))


def moment_renamed(checkpoint):
    def rename(tensors):
        tensors["x." + first(tensors, "|exp_avg")] = tensors.pop(first(tensors, "|exp_avg"))

    change_tensors(checkpoint / "optimizer.safetensors", rename)


def moment_missing(checkpoint):
    change_tensors(checkpoint / "optimizer.safetensors", lambda tensors: tensors.pop(first(tensors, "|exp_avg_sq")))


def a_parameter_without_moments(checkpoint):
    def remove(tensors):
        owner = first(tensors, "|exp_avg").partition("|")[0]
        for name in [name for name in tensors if name.startswith(owner + "|")]:
            del tensors[name]

    change_tensors(checkpoint / "optimizer.safetensors", remove)


def no_moments(checkpoint):
    change_tensors(checkpoint / "optimizer.safetensors", lambda tensors: tensors.clear())


def moment_transposed(checkpoint):
    def transpose(tensors):
        name = next(n for n in tensors if n.endswith("|exp_avg") and tensors[n].dim() == 2)
        tensors[name] = tensors[name].t().contiguous()

    change_tensors(checkpoint / "optimizer.safetensors", transpose)


def weight_missing(checkpoint):
    change_tensors(checkpoint / "trainable.safetensors", lambda tensors: tensors.pop(first(tensors, "weight")))


def weight_too_many(checkpoint):
    change_tensors(checkpoint / "trainable.safetensors", lambda tensors: tensors.update(more=torch.ones(2)))


@pytest.mark.promise("P2")
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (no_rng, "rng"), (shorter_rng, "random state"), (of_another_device, "random state"),
        (moment_renamed, "optimizer state"), (moment_missing, "optimizer state"), (no_moments, "optimizer state"),
        (a_parameter_without_moments, "optimizer state"), (moment_transposed, "optimizer state"),
        (weight_missing, "weights do not fit"), (weight_too_many, "weights do not fit"),
    ],
)  # fmt: skip
def test_a_state_that_is_not_all_there_is_not_gone_on_from(after_20, tmp_path, damage, words):
    """Its manifest agrees with its files, so it was written so."""
    cwd = trees.copied(after_20, tmp_path / "cwd")
    damage(cwd / STEP_20)
    said = take_up(cwd)
    assert said.code == 4 and said.err.startswith("error: ") and said.err.count("\n") == 1 and words in said.err, said


@pytest.mark.promise("P7")
@pytest.mark.parametrize("name", ["trainable", "optimizer"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_not_gone_on_from(after_20, tmp_path, name, value):
    def spoil(tensors):
        tensors[next(n for n in tensors if tensors[n].dim() == 2)][0, 0] = value

    cwd = trees.copied(after_20, tmp_path / "cwd")
    change_tensors(cwd / STEP_20 / f"{name}.safetensors", spoil)
    said = take_up(cwd)
    assert said.code in (4, 6) and said.err.startswith("error: ") and said.err.count("\n") == 1, said

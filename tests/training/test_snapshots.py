"""Copies of the trained weights over a run: which steps are kept, and what becomes of those that are not wanted."""

import pytest
import torch
from safetensors.torch import save_file

from training.errors import StateError
from training.snapshots import Snapshots, planned_steps, read_snapshot, snapshots


@pytest.mark.parametrize(
    ("total", "count", "steps"),
    [
        (620, 0, []), (620, 1, [620]), (620, 2, [0, 620]), (100, 5, [0, 25, 50, 75, 100]),
        (620, 16, [0, 41, 83, 124, 165, 207, 248, 289, 331, 372, 413, 455, 496, 537, 579, 620]), (3, 16, [0, 1, 2, 3]),
    ],
)  # fmt: skip
def test_the_steps_are_evenly_spaced_from_the_first_to_the_last(total, count, steps):
    assert planned_steps(total, count) == steps


@pytest.fixture
def keeper(tmp_path):
    def make(count=3, total=8):
        return Snapshots(tmp_path / "snapshots", count, total, lambda: {"w": torch.ones(2)})

    return make


def test_the_best_step_is_kept_and_the_best_before_it_goes_unless_its_turn_had_come(keeper, tmp_path):
    kept, found = keeper(), []
    for step, best in [(0, None), (1, 1), (2, 1), (3, 3), (4, 4), (5, 5), (6, 5), (8, 5)]:
        kept.keep(step, best)
        found.append(snapshots(tmp_path / "snapshots"))
    assert found == [[0], [0, 1], [0, 1], [0, 3], [0, 4], [0, 4, 5], [0, 4, 5], [0, 4, 5, 8]]


def test_after_a_resume_the_copies_of_later_steps_and_of_another_best_are_gone(keeper, tmp_path):
    kept = keeper()
    for step, best in [(0, None), (1, 1), (4, 1), (5, 5), (8, 8)]:
        kept.keep(step, best)
    kept.keep(7, 7)  # what a killed run leaves: the new best is written, the one before it not yet removed
    keeper().keep(4, 1)
    assert snapshots(tmp_path / "snapshots") == [0, 4]
    keeper().keep(5, 5)
    assert snapshots(tmp_path / "snapshots") == [0, 4, 5]


def test_asked_for_none_it_makes_no_folder(keeper, tmp_path):
    keeper(count=0).keep(0, 0)
    assert not (tmp_path / "snapshots").exists()


def test_other_files_in_the_folder_are_left_alone(keeper, tmp_path):
    (tmp_path / "snapshots").mkdir()
    (tmp_path / "snapshots" / "mine.txt").write_text("mine")
    keeper().keep(0, None)
    assert (tmp_path / "snapshots" / "mine.txt").read_text() == "mine"


def test_a_copy_that_is_cut_off_or_not_finite_is_refused_with_its_name(tmp_path):
    path = tmp_path / "step-000004.safetensors"
    save_file({"w": torch.tensor([1.0, float("nan")])}, path)
    with pytest.raises(StateError, match="step-000004.safetensors: w holds values that are no finite numbers"):
        read_snapshot(tmp_path, 4, {"w": torch.zeros(2)})
    with pytest.raises(StateError, match="step-000004.safetensors: does not fit this run"):
        read_snapshot(tmp_path, 4, {"w": torch.zeros(3)})
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(StateError, match="step-000004.safetensors: not a whole safetensors file"):
        read_snapshot(tmp_path, 4, {"w": torch.zeros(2)})

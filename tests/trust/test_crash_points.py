"""A run that dies between any two calls that change the disk: what it leaves is whole, and it ends the same."""

import signal
from pathlib import Path

import pytest

from tests.trust import calls, trees
from tests.trust.conftest import RESUME, recorded
from tests.trust.server import plan

pytestmark = [pytest.mark.slow, pytest.mark.promise("P1")]
WRITING = ("write", "save_file")


def points(found: list[list[str]]) -> list[tuple[int, bool]]:
    """Before each call, and in the middle of each that writes."""
    before = [(number, False) for number in range(1, len(found) + 1)]
    return before + [(number, True) for number, (name, _) in enumerate(found, 1) if name in WRITING]


def die_everywhere(server, argv, before: Path | None, window: str, folder: Path, check) -> None:
    """Let a run that starts on a copy of `before` die at every point of a window; `check(cwd)` after each."""

    def fresh(name: str) -> Path:
        cwd = folder / name
        return trees.copied(before, cwd) if before else (cwd.mkdir(), cwd)[1]

    found = recorded(server, argv, fresh("recorded"), window)
    print(f"{window}: {len(found)} calls: {' '.join(name for name, _ in found)}")
    assert {"rename", "replace", "exchange"} & {name for name, _ in found} and "fsync" in [name for name, _ in found]
    wrong = []
    for number, middle in points(found):
        cwd = fresh(f"{number}{'-half' * middle}")
        server.run(argv, cwd, plan(calls.die_at, window, number, middle), expect=-signal.SIGKILL)
        try:
            trees.check_tree(cwd / "run", clean=False)
            check(cwd)
        except AssertionError as error:
            where = f"{'in' if middle else 'before'} call {number}, {' '.join(found[number - 1])}"
            wrong.append(f"{where}: {str(error)[-300:]}")
    assert not wrong, "\n".join(wrong)


def test_a_run_that_dies_before_its_first_step_can_be_started_again(server, flags, whole, tmp_path):
    def check(cwd: Path) -> None:
        again = RESUME if (cwd / "run" / "config.toml").exists() else flags
        server.run(again, cwd)
        trees.check_tree(cwd / "run")
        assert trees.ending(cwd / "run") == whole

    die_everywhere(server, flags, None, "start", tmp_path, check)


def test_a_run_that_dies_in_its_first_save_ends_with_the_same_bytes(server, flags, ends_whole, tmp_path):
    die_everywhere(server, flags, None, "save 1", tmp_path, ends_whole)


def test_a_run_that_dies_in_a_save_that_deletes_old_ones_ends_with_the_same_bytes(
    server, after_20, ends_whole, tmp_path
):
    def check(cwd: Path) -> None:
        assert trees.steps(cwd / "run")[-1] >= 20 and 10 in trees.steps(cwd / "run"), "the last one, and the best"
        ends_whole(cwd)

    die_everywhere(server, RESUME, after_20, "save 1", tmp_path, check)
    assert trees.steps(tmp_path / "recorded" / "run") == [10, 21, 24]


def test_a_run_that_dies_while_it_is_taken_up_again_can_be_taken_up_again(server, after_20, ends_whole, tmp_path):
    die_everywhere(server, RESUME, after_20, "start", tmp_path, ends_whole)


def test_a_run_that_dies_while_its_adapter_appears_has_the_whole_one_or_none(server, after_20, ends_whole, tmp_path):
    die_everywhere(server, RESUME, after_20, "publish", tmp_path, ends_whole)


def test_a_run_that_dies_while_its_adapter_is_replaced_has_a_whole_one_always(
    server, undisturbed, ends_whole, tmp_path
):
    def check(cwd: Path) -> None:
        assert (cwd / "run" / "adapter" / "adapter_model.safetensors").exists(), "the old one or the new one"
        ends_whole(cwd)

    die_everywhere(server, RESUME, undisturbed.parent, "publish", tmp_path, check)

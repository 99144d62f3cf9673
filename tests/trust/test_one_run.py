"""Two runs in one directory: one writes, the other is told who does. A killed one leaves no lock behind."""

import signal
from pathlib import Path

import pytest

from tests.trust import plans, trees
from tests.trust.conftest import RESUME
from tests.trust.server import Run, Server, plan, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.promise("P15")]


def in_training(server: Server, flags, cwd: Path) -> Run:
    """A run that waits in its third step."""
    run = server.start(flags, cwd, [plan(plans.wait_at, "step", 3, cwd / "go on")])
    wait_for(lambda: trees.steps_logged(cwd / "run") == 2, "two steps", run=run)
    return run


def test_of_two_runs_started_together_exactly_one_runs_five_times(server, flags, whole, tmp_path):
    for number in range(5):
        cwd = tmp_path / str(number)
        cwd.mkdir()
        runs = [server.start(flags, cwd, [plan(plans.wait_for, cwd / "go")]) for _ in range(2)]
        (cwd / "go").touch()
        codes = [run.finish() for run in runs]
        assert sorted(codes) == [0, 2], [run.stderr for run in runs]
        told = runs[codes.index(2)].stderr
        assert told.startswith("error: run: ") and told.count("\n") == 1, told
        trees.check_tree(cwd / "run")
        assert trees.ending(cwd / "run") == whole


@pytest.mark.parametrize("more", [[], ["--overwrite"]], ids=["new", "overwrite"])
def test_a_second_run_is_told_who_holds_the_directory_and_the_first_is_not_disturbed(
    server, flags, ends_whole, tmp_path, more
):
    first = in_training(server, flags, tmp_path)
    second = server.run([*flags, *more], tmp_path, expect=2)
    assert f"process {first.pid}" in second.stderr and second.stderr.count("\n") == 1, second.stderr
    resumed = server.run(RESUME, tmp_path, expect=2)
    assert f"process {first.pid}" in resumed.stderr
    first.send(signal.SIGTERM)
    (tmp_path / "go on").touch()
    assert first.finish() == 143
    ends_whole(tmp_path)


def test_the_directory_of_a_killed_run_is_free_at_once(server, flags, ends_whole, tmp_path):
    first = in_training(server, flags, tmp_path)
    first.send(signal.SIGKILL)
    assert first.finish() == -signal.SIGKILL
    ends_whole(tmp_path)


def test_what_a_run_did_not_write_is_never_deleted(server, flags, after_20, tmp_path):
    """Files of the user's own in a run's directories, through a resume, its prunings, and a run in its place."""
    cwd = trees.copied(after_20, tmp_path / "cwd")
    mine = [cwd / "run" / "notes.txt", cwd / "run" / "checkpoints" / "notes.txt", cwd / "run" / "mine" / "adapter.txt"]
    for file in mine:
        file.parent.mkdir(exist_ok=True)
        file.write_text("mine")
    server.run(RESUME, cwd)
    assert [file.read_text() for file in mine] == ["mine"] * 3
    mine.remove(cwd / "run" / "checkpoints" / "notes.txt")
    server.run([*flags, "--overwrite", "--max_steps=3"], cwd)
    assert [file.read_text() for file in mine] == ["mine"] * 2
    assert trees.trained_steps(cwd / "run") == [1, 2, 3]

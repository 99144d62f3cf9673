"""A disk that is full or read-only, and names that cannot be: told before training where that can be known."""

import os
from pathlib import Path

import pytest

from tests.trust import plans, trees
from tests.trust.conftest import RESUME
from tests.trust.server import plan

pytestmark = [pytest.mark.slow, pytest.mark.promise("P9")]


def check_refused(run, codes=(2, 5)) -> str:
    """One line, and not a step made. Returns the line."""
    assert run.process.exitcode in codes, f"exit code {run.process.exitcode}: {run.stderr}"
    assert run.stderr.startswith("error: ") and run.stderr.count("\n") == 1, run.stderr
    assert "step 1/24" not in run.stdout
    return run.stderr


# Of the files that a checkpoint consists of, weights take 45 kB and the optimizer's moments twice that.
@pytest.mark.parametrize("size", [16_000, 30_000, 60_000])
def test_a_file_that_is_too_large_for_the_disk_is_told_and_the_run_goes_on_where_there_is_room(
    server, after_20, ends_whole, tmp_path, size
):
    cwd = trees.copied(after_20, tmp_path / "full")
    run = server.run(RESUME, cwd, plan(plans.largest_file, size), expect=5)
    assert run.stderr.startswith("error: ") and run.stderr.count("\n") == 1
    assert "the last whole checkpoint is run/checkpoints/step-000020" in run.stderr, run.stderr
    trees.check_tree(cwd / "run")
    assert trees.steps(cwd / "run") == [10, 18, 20], "nothing was deleted for what was not saved"
    ends_whole(cwd)


def test_a_disk_that_is_large_enough_is_no_obstacle(server, after_20, whole, tmp_path):
    cwd = trees.copied(after_20, tmp_path / "large")
    server.run(RESUME, cwd, plan(plans.largest_file, 200_000))
    assert trees.ending(cwd / "run") == whole


def test_a_disk_without_room_for_two_checkpoints_is_told_before_training(server, flags, tmp_path):
    run = server.run(flags, tmp_path, plan(plans.little_room, 100_000), expect=5)
    assert "0 MB are free" in check_refused(run)


@pytest.mark.parametrize("name", ["locked/run", "locked"])
def test_a_directory_that_cannot_be_written_is_told_before_training(server, flags, tmp_path, name):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    before = [plans.without_privileges, plan(plans.check_unwritable, locked)]
    run = server.run([*flags, f"--output_dir={name}"], tmp_path, *before, expect=None)
    assert "ermission denied" in check_refused(run) and "locked" in run.stderr


def test_a_checkpoint_directory_that_became_read_only_is_told_and_untouched(server, after_20, ends_whole, tmp_path):
    cwd = trees.copied(after_20, tmp_path / "cwd")
    checkpoints = cwd / "run" / "checkpoints"
    checkpoints.chmod(0o555)
    before = [plans.without_privileges, plan(plans.check_unwritable, checkpoints)]
    run = server.run(RESUME, cwd, *before, expect=5)
    assert "ermission denied" in run.stderr and run.stderr.count("\n") == 1
    assert "the last whole checkpoint is run/checkpoints/step-000020" in run.stderr, run.stderr
    checkpoints.chmod(0o755)
    ends_whole(cwd)


def a_file(path: Path) -> None:
    path.write_text("mine")


def a_link_that_leads_nowhere(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere"))


@pytest.mark.parametrize("made", [a_file, a_link_that_leads_nowhere])
@pytest.mark.parametrize("output_dir", ["thing", "thing/run"])
def test_what_is_in_the_way_of_a_run_is_told_before_training_and_left_alone(server, flags, tmp_path, made, output_dir):
    made(tmp_path / "thing")
    run = server.run([*flags, f"--output_dir={output_dir}"], tmp_path, expect=None)
    assert "thing" in check_refused(run)
    assert os.path.lexists(tmp_path / "thing") and not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("made", [a_file, a_link_that_leads_nowhere])
def test_what_is_in_the_way_of_all_runs_is_told_before_training(server, flags, tmp_path, made):
    made(tmp_path / "runs")
    run = server.run([flag for flag in flags if "output_dir" not in flag], tmp_path, expect=None)
    assert "runs" in check_refused(run)


def test_the_longest_name_there_is_will_do_and_a_longer_one_is_told_before_training(server, flags, tmp_path):
    name = "r" * 255
    server.run([*flags, f"--output_dir={name}"], tmp_path)
    trees.check_tree(tmp_path / name)
    run = server.run([*flags, f"--output_dir={name}r"], tmp_path, expect=None)
    assert "too long" in check_refused(run)


def test_a_name_that_is_no_text_is_told_before_training(server, flags, tmp_path):
    run = server.run([*flags, "--output_dir=run-\udcff"], tmp_path, expect=None)
    check_refused(run)


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_files_have_the_modes_that_the_umask_asks_for(server, flags, tmp_path, mask):
    server.run(flags, tmp_path, plan(plans.umask, mask))
    trees.check_tree(tmp_path / "run", mask=mask)

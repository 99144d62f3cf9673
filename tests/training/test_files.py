"""Files and directories are whole or absent, also after an exception, and two runs do not share a directory."""

import errno
import os
import shutil
import sys
from pathlib import Path

import pytest

import training.files
from training.files import atomic_directory, open_atomically, sweep, write_atomically


class Crash(Exception):
    """What goes wrong in the middle of writing."""


def tree(directory: Path) -> dict[str, str]:
    """Every file below a directory, hidden ones too, with its text."""
    return {str(p.relative_to(directory)): p.read_text() for p in sorted(directory.rglob("*")) if p.is_file()}


@pytest.fixture
def umask():
    """Set the process's umask for one test."""
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


def test_a_directory_appears_whole_and_only_at_the_end(tmp_path):
    target = tmp_path / "deep" / "step-1"
    with atomic_directory(target) as directory:
        (directory / "inner").mkdir()
        (directory / "inner" / "a").write_text("1")
        (directory / "b").write_text("2")
        assert not target.exists()
        assert directory.parent == target.parent  # a rename across file systems would be a copy
    assert tree(tmp_path) == {"deep/step-1/b": "2", "deep/step-1/inner/a": "1"}
    assert [p.name for p in target.parent.iterdir()] == ["step-1"]


def test_a_directory_replaces_an_older_one_as_a_whole(tmp_path):
    target = tmp_path / "adapter"
    target.mkdir()
    (target / "old").write_text("old")
    with atomic_directory(target) as directory:
        (directory / "new").write_text("new")
        assert tree(target) == {"old": "old"}
    assert tree(tmp_path) == {"adapter/new": "new"}
    assert [p.name for p in tmp_path.iterdir()] == ["adapter"]


@pytest.mark.parametrize("error", [Crash, KeyboardInterrupt, SystemExit])
def test_after_an_exception_the_old_directory_is_intact_and_nothing_else_is_left(tmp_path, error):
    target = tmp_path / "adapter"
    target.mkdir()
    (target / "old").write_text("old")
    with pytest.raises(error), atomic_directory(target) as directory:
        (directory / "new").write_text("half")
        raise error
    assert tree(tmp_path) == {"adapter/old": "old"}
    assert [p.name for p in tmp_path.iterdir()] == ["adapter"]


def test_an_exception_before_anything_was_there_leaves_nothing(tmp_path):
    with pytest.raises(Crash), atomic_directory(tmp_path / "step-1") as directory:
        (directory / "new").write_text("half")
        raise Crash
    assert list(tmp_path.iterdir()) == []


def without_exchange(monkeypatch):
    """As where the system cannot swap two names."""
    monkeypatch.setattr(training.files, "_exchange", lambda a, b: False)


def test_the_old_directory_is_back_if_the_new_one_cannot_take_its_name(tmp_path, monkeypatch):
    target, rename = tmp_path / "adapter", os.rename
    target.mkdir()
    (target / "old").write_text("old")

    def fail_for_the_new_one(path, to):
        if Path(to) == target and (Path(path) / "new").exists():
            raise OSError("no")
        return rename(path, to)

    without_exchange(monkeypatch)
    monkeypatch.setattr(os, "rename", fail_for_the_new_one)
    with pytest.raises(OSError, match="no"), atomic_directory(target) as directory:
        (directory / "new").write_text("new")
    assert tree(tmp_path) == {"adapter/old": "old"}
    assert [p.name for p in tmp_path.iterdir()] == ["adapter"]


@pytest.mark.promise("P1")
def test_there_is_no_moment_without_the_directory_while_it_is_replaced(tmp_path, monkeypatch):
    if not sys.platform.startswith("linux"):
        pytest.skip("only Linux swaps two names in one step")
    target = tmp_path / "adapter"
    write_directory(target, "old")
    monkeypatch.setattr(os, "rename", None)  # neither of the two renames is needed
    write_directory(target, "new")
    assert tree(tmp_path) == {"adapter/new": "new"}


def write_directory(target: Path, name: str) -> None:
    with atomic_directory(target) as directory:
        (directory / name).write_text(name)


@pytest.mark.promise("P1")
@pytest.mark.parametrize("renames", [0, 1, 2])
def test_killed_between_two_renames_one_of_both_directories_is_there_after_a_sweep(tmp_path, monkeypatch, renames):
    """The kill leaves no chance to clean up: what stands on the disk then is copied."""
    target, left, rename, done = tmp_path / "run" / "adapter", tmp_path / "left", os.rename, []
    write_directory(target, "old")

    def killed_after(path, to):
        if len(done) == renames:
            shutil.copytree(tmp_path / "run", left)
        done.append(rename(path, to))

    without_exchange(monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", killed_after)
        write_directory(target, "new")
    if renames == 2:
        shutil.copytree(tmp_path / "run", left)
    sweep(left)
    assert tree(left) == ({"adapter/new": "new"} if renames == 2 else {"adapter/old": "old"})
    assert [p.name for p in left.iterdir()] == ["adapter"]


def test_a_sweep_removes_what_was_left_half_written_and_nothing_else(tmp_path):
    (tmp_path / ".tmp-step-000010-ab").mkdir()
    (tmp_path / ".tmp-step-000010-ab" / "state.json").write_text("half")
    (tmp_path / ".tmp-results.json-cd").write_text("half")
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "file").write_text("mine")
    (tmp_path / ".tmp-link").symlink_to(tmp_path / "far")
    (tmp_path / "results.json").write_text("whole")
    sweep(tmp_path)
    assert tree(tmp_path) == {"far/file": "mine", "results.json": "whole"}


@pytest.mark.promise("P9")
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize("which", ["file", "directory"])
def test_an_error_of_fsync_is_told_and_nothing_is_published(tmp_path, monkeypatch, number, which):
    """A disk may say only then that what was written is not there."""

    def broken(handle):
        if os.path.isdir(f"/proc/self/fd/{handle}") == (which == "directory"):
            raise OSError(number, os.strerror(number))

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("needs /proc to see what is flushed")
    write_directory(tmp_path / "step-1", "old")
    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError) as raised:
        write_directory(tmp_path / "step-1", "new")
    assert raised.value.errno == number and raised.value.filename == str(tmp_path / "step-1")
    monkeypatch.undo()
    assert tree(tmp_path) == {"step-1/old": "old"}
    with pytest.raises(OSError) as raised, monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(number, "no")))
        write_atomically(tmp_path / "results.json", "{}")
    assert raised.value.filename == str(tmp_path / "results.json") and not (tmp_path / "results.json").exists()


def test_a_file_system_that_cannot_sync_directories_is_lived_with(tmp_path, monkeypatch):
    def only_files(handle):
        if os.path.isdir(f"/proc/self/fd/{handle}"):
            raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", only_files)
    write_directory(tmp_path / "step-1", "new")
    assert tree(tmp_path) == {"step-1/new": "new"}


def test_everything_is_on_the_disk_before_the_directory_gets_its_name(tmp_path, monkeypatch):
    target, flushed, fsync = tmp_path / "step-1", [], os.fsync

    def note(handle):
        flushed.append((os.readlink(f"/proc/self/fd/{handle}").rsplit("/", 1)[1], target.exists()))
        fsync(handle)

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("needs /proc to see which file is flushed")
    monkeypatch.setattr(os, "fsync", note)
    with atomic_directory(target) as directory:
        (directory / "a").write_text("1")
    before = {name for name, published in flushed if not published}
    after = {name for name, published in flushed if published}
    assert before == {"a", directory.name}
    assert after == {tmp_path.name}


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_what_is_written_can_be_read_by_those_whom_the_umask_allows(tmp_path, umask, mask):
    umask(mask)
    with atomic_directory(tmp_path / "adapter") as directory:
        (directory / "a").write_text("1")
    write_atomically(tmp_path / "results.json", "{}")
    modes = {p.name: p.stat().st_mode & 0o777 for p in tmp_path.rglob("*")}
    assert modes == {"adapter": 0o777 & ~mask, "a": 0o666 & ~mask, "results.json": 0o666 & ~mask}
    assert umask(mask) == mask


def test_a_text_file_appears_only_when_it_is_whole(tmp_path):
    path = tmp_path / "deep" / "predictions.jsonl"
    with open_atomically(path) as file:
        file.write("one\n")
        file.flush()
        assert not path.exists()
        file.write("two\r\né\n")
    assert path.read_bytes() == "one\ntwo\r\né\n".encode()
    assert list(path.parent.iterdir()) == [path]


def test_after_an_exception_the_old_text_file_is_intact_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "predictions.jsonl"
    write_atomically(path, "old")
    with pytest.raises(Crash), open_atomically(path) as file:
        file.write("half")
        raise Crash
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_text_file_replaces_the_old_one(tmp_path):
    path = tmp_path / "results.json"
    write_atomically(path, "a long old text")
    write_atomically(path, "new")
    assert path.read_text() == "new"

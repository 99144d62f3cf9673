"""Files and directories are whole or absent, also after an exception, and two runs do not share a directory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from training.errors import UsageError
from training.files import atomic_directory, locked, open_atomically, write_atomically

ROOT = Path(__file__).resolve().parents[2]
HOLD = """
import sys
from pathlib import Path
from training.files import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


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


@pytest.fixture
def other_run(tmp_path):
    """Another process that holds the lock on `tmp_path`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


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


def test_the_old_directory_is_back_if_the_new_one_cannot_take_its_name(tmp_path, monkeypatch):
    target, rename = tmp_path / "adapter", Path.rename
    target.mkdir()
    (target / "old").write_text("old")

    def fail_for_the_new_one(self, to):
        if Path(to) == target and (self / "new").exists():
            raise OSError("no")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", fail_for_the_new_one)
    with pytest.raises(OSError, match="no"), atomic_directory(target) as directory:
        (directory / "new").write_text("new")
    assert tree(tmp_path) == {"adapter/old": "old"}


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


def test_a_second_process_is_refused_while_the_first_holds_the_directory(tmp_path, other_run):
    pytest.importorskip("fcntl")
    with pytest.raises(UsageError, match="another run is writing there"), locked(tmp_path):
        pytest.fail("two runs in one directory")


def test_the_lock_is_free_after_the_block_and_after_a_process_was_killed(tmp_path, other_run):
    pytest.importorskip("fcntl")
    other_run.kill()
    other_run.wait()
    for _ in range(2):
        with locked(tmp_path):
            pass


def test_two_directories_have_two_locks(tmp_path, other_run):
    (tmp_path / "mine").mkdir()
    with locked(tmp_path / "mine"):
        pass

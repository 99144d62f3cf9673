"""Files that are complete or absent: directories published by one rename, and a lock against a second run."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from training.errors import UsageError


@contextlib.contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Write into a hidden sibling; at the end it takes the name `path` in one rename, replacing what was there.

    After an exception nothing is left behind. Everything is flushed to the disk before the rename: a rename alone
    orders nothing, and a crash would publish empty files.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".tmp-{path.name}-", dir=path.parent))
    try:
        temporary.chmod(0o777 & ~_umask())
        yield temporary
        for file in [*temporary.rglob("*"), temporary]:
            _flush(file)
        if path.exists():
            old = temporary.with_name(temporary.name + "-old")
            path.rename(old)
            try:
                temporary.rename(path)
            except OSError:
                old.rename(path)
                raise
            shutil.rmtree(old)
        else:
            temporary.rename(path)
        _flush(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_atomically(path: Path, text: str) -> None:
    """A small text file, whole or not at all."""
    with open_atomically(path) as file:
        file.write(text)


@contextlib.contextmanager
def open_atomically(path: Path) -> Iterator[IO[str]]:
    """A text file that appears under its name only when the block ends without an exception."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".tmp-{path.name}-", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        os.replace(temporary, path)
        _flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold `directory` for one run; a second one gets a UsageError instead of mixing its files in.

    The operating system frees the lock when the process ends, however it ends. Without flock (Windows, some network
    file systems) the run goes on unlocked.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    with open(directory / ".lock", "w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"{directory}: another run is writing there; wait for it or give another --output_dir"
            ) from None
        except OSError:
            pass
        yield


def _flush(path: Path) -> None:
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:  # Windows opens no directories
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask

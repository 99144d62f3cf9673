"""Files and directories that get their names only when they are whole, and are on the disk by then.

Each is written under a hidden name, `.tmp-*`, beside its place. Every failed write, sync or rename is an OSError that
names the file. What a killed process leaves under such a name, `sweep` removes.
"""

import contextlib
import ctypes
import errno
import functools
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from training.errors import UsageError

_HIDDEN, _OLD = ".tmp-", "-old"
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h
# What a file system says that can do something else, but not this: some network file systems, and Windows.
_NOT_THERE = {errno.EINVAL, errno.EBADF, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}


def check_target(flag: str, path: str | Path | None, taken: str | Path | None = None, what: str = "") -> None:
    """Raises UsageError, before any work is lost, where the file that `flag` names is a directory, or is the file
    `taken`, which `what` describes."""
    if path is not None and os.path.isdir(path):
        raise UsageError(f"{flag} {path}: is a directory; name a file in it")
    if path is not None and taken is not None and os.path.realpath(path) == os.path.realpath(taken):
        raise UsageError(f"{flag} {path}: is {what}; name another")


@contextlib.contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Write into a hidden sibling; at the end it takes the name `path` in one rename, replacing what was there.

    After an exception `path` is as it was. Everything is flushed to the disk before the rename: a rename alone
    orders nothing, and a power cut would publish empty files.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f"{_HIDDEN}{path.name}-", dir=path.parent))
    try:
        with _naming(path):
            temporary.chmod(0o777 & ~_umask())
            yield temporary
            for file in [*temporary.rglob("*"), temporary]:
                flush(file)
            _take_name(temporary, path)
            flush(path.parent)
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
    handle, name = tempfile.mkstemp(prefix=f"{_HIDDEN}{path.name}-", dir=path.parent)
    temporary = Path(name)
    try:
        with _naming(path):
            with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(0o666 & ~_umask())
            os.replace(temporary, path)
            flush(path.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Write the file at the hidden place that this gives; at the end of the block it takes the name `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f"{_HIDDEN}{path.name}-", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        with _naming(path):
            yield temporary
            flush(temporary)
            temporary.chmod(0o666 & ~_umask())
            os.replace(temporary, path)
            flush(path.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def remove(path: Path) -> None:
    """Delete a file, a link (not what it leads to) or a directory, which is hidden first: it never stands there half.

    A path that is not there is no error.
    """
    if path.is_dir() and not path.is_symlink():
        hidden = path.with_name(f"{_HIDDEN}{path.name}-{os.getpid()}-gone")
        os.rename(path, hidden)
        shutil.rmtree(hidden)
    else:
        path.unlink(missing_ok=True)


def sweep(directory: Path) -> None:
    """Remove what killed processes have left half written or half deleted in `directory`.

    Call it only while nobody else writes there. A directory that was moved out of the way for a new one that did not
    come gets its name back.
    """
    for left in sorted(directory.glob(f"{_HIDDEN}*")):
        if left.name.endswith(_OLD):
            home = directory / left.name.removeprefix(_HIDDEN).removesuffix(_OLD).rsplit("-", 1)[0]
            if not home.exists():
                left.rename(home)
                continue
        shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()


def free_name(path: Path) -> Path:
    """`path`, or the first of `metrics-2.jsonl`, `metrics-3.jsonl`, ... that is not there."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_stem(f"{path.stem}-{number}")
    return free


def free_bytes(directory: Path) -> int:
    """What the file system of `directory` has left for this user."""
    return shutil.disk_usage(directory).free


def flush(path: Path) -> None:
    """Wait until a file or a directory's entries are on the disk. Raises OSError; only "cannot be synced" passes."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        if path.is_dir():  # Windows opens no directories
            return
        raise
    try:
        os.fsync(handle)
    except OSError as error:
        if not (path.is_dir() and error.errno in _NOT_THERE):
            raise
    finally:
        os.close(handle)


def _take_name(temporary: Path, path: Path) -> None:
    """`temporary` becomes `path`. What was there becomes `temporary`, at the same moment where the system can."""
    if not path.exists():
        os.rename(temporary, path)
    elif not _exchange(temporary, path):
        old = temporary.with_name(temporary.name + _OLD)
        os.rename(path, old)
        try:
            os.rename(temporary, path)
        except BaseException:
            if not path.exists():
                os.rename(old, path)
            raise
        shutil.rmtree(old)


def _exchange(a: Path, b: Path) -> bool:
    """Swap two names in one step (Linux's renameat2). False where that cannot be done, and then nothing was."""
    swap = _renameat2()
    if swap is None:
        return False
    if swap(_AT_FDCWD, os.fsencode(a), _AT_FDCWD, os.fsencode(b), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _NOT_THERE:
        return False
    raise OSError(number, os.strerror(number), str(b))


@functools.cache
def _renameat2():
    if not sys.platform.startswith("linux"):
        return None
    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)  # older C libraries have none
    if function is not None:
        function.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    return function


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """An OSError from a handle knows no file name: fsync's, write's. It gets this one."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask

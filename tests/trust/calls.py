"""The calls by which a run's process changes the disk, counted, so that it can die or fail at any one of them.

Counted are Python's functions of `os`, the files it opens for writing, safetensors' one call that writes a file, and
the exchange of two names. What a run writes stands below its working directory; nothing else is counted.
"""

import builtins
import errno
import functools
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.trust import plans

# fmt: off
_OF_OS = ("write", "fsync", "fdatasync", "rename", "replace", "mkdir", "rmdir", "unlink", "remove", "link", "symlink",
          "truncate", "ftruncate", "chmod", "fchmod")
# fmt: on
_open, _write, _readlink = os.open, os.write, os.readlink


class Counted:
    """What happens at each counted call; `act(number, name, target, half)` comes before it.

    `half()` does half of what a call that writes would do, and nothing for the others.
    """

    def __init__(self, act: Callable[[int, str, str, Callable[[], object]], None]):
        self.act, self.on, self.number = act, False, 0
        self.root = os.getcwd() + os.sep

    def call(self, name: str, target: str | None, plain: Callable[[], Any], half: Callable[[], object] = lambda: None):
        if self.on and target is not None and target.startswith(self.root) and not target.endswith((".out", ".err")):
            self.number += 1
            self.act(self.number, name, target.removeprefix(self.root), half)
        return plain()

    def install(self) -> None:
        for name in _OF_OS:
            setattr(os, name, self._of_os(name))
        plain_open, plain_io_open = os.open, io.open

        @functools.wraps(plain_open)
        def os_open(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
            writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            target = _path(path, kwargs) if writes else None
            return self.call("open", target, lambda: plain_open(path, flags, *args, **kwargs))

        @functools.wraps(plain_io_open)
        def io_open(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            if not set(mode) & set("wax+"):
                return plain_io_open(file, mode, *args, **kwargs)
            target = _path(file, {})
            opened = self.call("open", target, lambda: plain_io_open(file, mode, *args, **kwargs))
            opened.write = self._written(opened, target)
            return opened

        os.open, io.open, builtins.open = os_open, io_open, io_open
        self._libraries()

    def _of_os(self, name: str) -> Callable[..., Any]:
        plain = getattr(os, name)

        @functools.wraps(plain)
        def counted(*args: Any, **kwargs: Any) -> Any:
            half = functools.partial(plain, args[0], args[1][: len(args[1]) // 2]) if name == "write" else lambda: None
            return self.call(name, _path(args[0], kwargs), lambda: plain(*args, **kwargs), half)

        return counted

    def _written(self, opened: Any, target: str | None) -> Callable[[Any], int]:
        plain = opened.write

        def half(data: Any) -> None:
            plain(data[: len(data) // 2])
            opened.flush()

        return lambda data: self.call("write", target, lambda: plain(data), lambda: half(data))

    def _libraries(self) -> None:
        import safetensors.torch

        import training.checkpoint
        import training.files

        plain = safetensors.torch.save_file

        def save_file(tensors: Any, filename: Any, *args: Any, **kwargs: Any) -> None:
            def half() -> None:
                plain(tensors, filename, *args, **kwargs)
                with open(filename, "r+b") as file:
                    file.truncate(os.path.getsize(filename) // 2)

            target = os.path.abspath(filename)
            return self.call("save_file", target, lambda: plain(tensors, filename, *args, **kwargs), half)

        safetensors.torch.save_file = training.checkpoint.save_file = save_file
        exchange = training.files._exchange
        training.files._exchange = lambda a, b: self.call("exchange", os.path.abspath(b), lambda: exchange(a, b))


def _path(first: Any, kwargs: dict[str, Any]) -> str | None:
    """The absolute path of a call's first argument: a path, a path in an open directory, or an open file."""
    try:
        if isinstance(first, int):
            return _readlink(f"/proc/self/fd/{first}")
        directory = kwargs.get("dir_fd")
        where = _readlink(f"/proc/self/fd/{directory}") if directory is not None else os.getcwd()
        return os.path.normpath(os.path.join(where, os.fsdecode(first)))
    except OSError:
        return None


def _within(window: str, act: Callable[[int, str, str, Callable[[], object]], None]) -> None:
    """Count from the start, in the n-th save ("save 2"), or from the adapter's publication to the end of the run."""
    counted = Counted(act)
    name, _, number = window.partition(" ")

    def switch(on: bool) -> None:
        counted.on = on

    counted.install()
    if name == "start":
        switch(True)
        plans.around("step", lambda n: switch(False))
    elif name == "save":
        plans.around("save", lambda n: switch(n == int(number)), lambda n: switch(False))
    else:
        plans.around("publish", lambda n: switch(True))


def record(window: str, log: Path) -> None:
    """Write down each counted call: its name and, relative to the working directory, on what."""
    handle = _open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    _within(window, lambda _, name, target, half: _write(handle, (json.dumps([name, target]) + "\n").encode()))


def die_at(window: str, number: int, in_the_middle: bool = False) -> None:
    """Die before the n-th call; or, of one that writes, with half of it written."""

    def act(n: int, name: str, target: str, half: Callable[[], object]) -> None:
        if n == number:
            if in_the_middle:
                half()
            plans.die()

    _within(window, act)


def fail_at(window: str, number: int, error: int = errno.EIO, for_ever: bool = False) -> None:
    """The n-th call fails, and a call that writes has written half; `for_ever`: and so do all after it."""

    def act(n: int, name: str, target: str, half: Callable[[], object]) -> None:
        if n == number:
            half()
        if n == number or (for_ever and n > number):
            raise OSError(error, os.strerror(error), target)

    _within(window, act)

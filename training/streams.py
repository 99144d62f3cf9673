"""Standard output and standard error that may lose their reader: a closed pipe, a full disk, a descriptor not there."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, TextIO


class Output:
    """A text stream whose first failed write points it at nothing, so that the flush at exit has nothing to tell.

    One that is `lasting` fails without a word: what it would show is less than the work it tells of. Another raises the
    OSError, with its `name` for a file name.
    """

    def __init__(self, stream: TextIO, name: str, lasting: bool):
        self.stream, self.name, self.lasting = stream, name, lasting

    def write(self, text: str) -> int:
        self._attempt(self.stream.write, text)
        return len(text)

    def flush(self) -> None:
        self._attempt(self.stream.flush)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def _attempt(self, act: Callable[..., Any], *arguments: Any) -> None:
        try:
            act(*arguments)
        except OSError as error:
            _point_at_nothing(self.stream)
            if not self.lasting:
                raise OSError(error.errno, error.strerror or str(error), self.name) from None


def _point_at_nothing(stream: TextIO) -> None:
    try:
        number = stream.fileno()
    except OSError:  # no stream of the system's
        return
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, number)
    os.close(nothing)


@contextlib.contextmanager
def guarded_output(lasting: bool) -> Iterator[None]:
    """Inside, sys.stdout and sys.stderr are Outputs; stderr is lasting in any case.

    Characters that the stream's encoding has not are replaced. Python has None for a descriptor that was closed before
    it started (`>&-`): for a lasting stream that is a reader who has gone, for another a write that fails.
    """
    with contextlib.ExitStack() as stack:
        for name, lasts in (("stdout", lasting), ("stderr", True)):
            stream = before = getattr(sys, name)
            if stream is None:
                stream = stack.enter_context(open(os.devnull, "w" if lasts else "r", encoding="utf-8"))
            elif name == "stdout" and hasattr(stream, "reconfigure"):  # stderr escapes them by itself
                stream.reconfigure(errors="replace")
            stack.callback(setattr, sys, name, before)
            setattr(sys, name, Output(stream, "standard output", lasts))
        yield

"""Ctrl-C, a batch system's SIGTERM and the SIGHUP of a closed terminal: how a run is asked to stop, and how it hears.

A signal that was ignored when the run started (`nohup`, a background job) stays ignored. Handlers are a matter of the
main thread: a run in another one is asked nothing.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from training.distributed import Ranks
from training.errors import Stopped

_NUMBERS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
_ECHO = 2.0  # seconds within which torchrun hands on a Ctrl-C that its processes have got themselves
_requests: list["StopRequest"] = []  # the one in force is the last


class StopRequest:
    """Within it a signal is noted in `signal`, and the loop stops after its step. A second Ctrl-C stops at once."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._interrupted: float | None = None

    def __enter__(self) -> "StopRequest":
        self._stack = contextlib.ExitStack()
        self._stack.enter_context(_handled_by(self._note))
        _requests.append(self)
        return self

    def __exit__(self, *_: Any) -> None:
        _requests.remove(self)
        self._stack.close()

    def _note(self, number: int, _frame: Any) -> None:
        if number == signal.SIGINT:
            now, before = time.monotonic(), self._interrupted
            self._interrupted = before or now
            if before and not ("TORCHELASTIC_RUN_ID" in os.environ and now - before < _ECHO):
                raise KeyboardInterrupt
        self.signal = self.signal or number


def stop_wanted() -> bool:
    """Whether the StopRequest in force has noted a signal: for what takes long inside a step, as an evaluation does."""
    return bool(_requests and _requests[-1].signal)


def stop_together(ranks: Ranks) -> None:
    """Raise Stopped on all processes if any has noted a signal. All must call this at the same point."""
    number = ranks.max(_requests[-1].signal or 0) if _requests else 0
    if number:
        raise Stopped("stopped", number)


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Within it, where no StopRequest is in force, a signal raises Stopped on the spot: there is no step to finish."""

    def leave(number: int, _frame: Any) -> None:
        raise Stopped("stopped", number)

    with _handled_by(leave):
        yield


@contextlib.contextmanager
def _handled_by(handler: Callable[[int, Any], None]) -> Iterator[None]:
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in _NUMBERS:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):  # None: set by something outside Python
                before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)

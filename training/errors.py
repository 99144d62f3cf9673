"""The hall's own errors, and how a door turns errors into one line and an exit code.

Exit codes: 2 usage, 3 data, 4 model, adapter or checkpoint, 5 files and disk, 6 numbers that are not finite, 7 memory,
128 + n stopped by signal n. The rooms' errors carry theirs as `exit_code`; an error without one is a bug and keeps its
traceback.
"""

import errno
import re
import sys
from collections.abc import Callable

from training.streams import guarded_output

# torch has a class of its own for a GPU's memory alone; a CPU's, and sizes beyond any memory, it tells in words.
_NO_MEMORY = re.compile(
    "out of memory|not enough memory|(can't|cannot) allocate|calculation overflowed|multiplication overflow|bad_alloc"
    "|alloc_failed",
    re.IGNORECASE,
)


class UsageError(ValueError):
    """A flag, a preset or an output directory that cannot be used as given."""

    exit_code = 2


class StateError(ValueError):
    """A checkpoint that cannot be continued from."""

    exit_code = 4


class NonFiniteError(ValueError):
    """A loss, a gradient or an answer that is no number."""

    exit_code = 6


class DiskError(ValueError):
    """A disk that does not take what a run writes. What was saved before is as it was."""

    exit_code = 5


class DiedError(ValueError):
    """Another process of the run has gone without a word, and the connection with it."""

    exit_code = 5


class Stopped(Exception):
    """The run was asked to stop and has saved what is needed to go on."""

    def __init__(self, message: str, signal_number: int):
        super().__init__(message)
        self.exit_code = 128 + signal_number


def run_door(main: Callable[[], object], *, lasting: bool = False, lighter: str = "a smaller --batch_size") -> int:
    """Run a door's main; errors that are the user's to solve become one line on stderr. Returns the exit code.

    A `lasting` door works on where nobody reads its output any more; another one ends then. `lighter`: with what less
    memory is needed.
    """
    with guarded_output(lasting):
        try:
            _to_the_end(main)
            return 0
        except (OSError, ValueError, RuntimeError, MemoryError, Stopped, KeyboardInterrupt) as error:
            if isinstance(error, BrokenPipeError) and not lasting:  # the reader has gone (`| head`): nobody to tell
                return 0
            if (found := explain(error, lighter)) is None:
                raise
            message, code = found
        print(visible(message), file=sys.stderr)
        return code


def _to_the_end(main: Callable[[], object]) -> None:
    """Flushed here, a full disk behind standard output can be told; at the interpreter's exit it is too late."""
    try:
        main()
    except SystemExit:  # --help
        sys.stdout.flush()
        raise
    sys.stdout.flush()


def explain(error: BaseException, lighter: str) -> tuple[str, int] | None:
    """(message, exit code); None for a bug."""
    code = getattr(error, "exit_code", None)
    if code is not None:
        return (str(error) if isinstance(error, Stopped) else f"error: {error}"), code
    if isinstance(error, KeyboardInterrupt):
        return "stopped", 130
    if isinstance(error, MemoryError) or _is_out_of_memory(error):
        asked = re.search(r"allocate ([\d.]+ \w+)", str(error))
        size = f" ({asked[1]} asked for)" if asked else ""
        return f"error: out of memory{size}; less is needed with {lighter}", 7
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"error: {where}{error.strerror or error}", 5
    return None


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and _NO_MEMORY.search(str(error)) is not None


def visible(text: str, most: int = 2000) -> str:
    """On one line, and with what would steer a terminal written out: names and texts come from strangers' files."""
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:most])
    return line + "..." * (len(text) > most)

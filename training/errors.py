"""The hall's own errors, and how a door turns errors into one line and an exit code.

Exit codes: 2 usage, 3 data, 4 model, adapter or checkpoint, 5 files and disk, 6 numbers that are not finite, 128 + n
stopped by signal n. The rooms' errors carry theirs as `exit_code`; an error without one is a bug and keeps its
traceback.
"""

import sys
from collections.abc import Callable


class UsageError(ValueError):
    """A flag, a preset or an output directory that cannot be used as given."""

    exit_code = 2


class StateError(ValueError):
    """A checkpoint that cannot be continued from."""

    exit_code = 4


class NonFiniteError(ValueError):
    """A loss or gradient that is no number. Raised before the step, so no weight has been touched."""

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


def run_door(main: Callable[[], object]) -> int:
    """Run a door's main; errors that are the user's to solve become one line on stderr. Returns the exit code."""
    try:
        main()
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has gone (`| head`); there is nobody to tell
        sys.stderr.close()
        return 0
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {where}{error.strerror or error}", file=sys.stderr)
        return 5
    except (ValueError, Stopped) as error:
        if not hasattr(error, "exit_code"):
            raise
        print(f"error: {error}" if isinstance(error, ValueError) else error, file=sys.stderr)
        return error.exit_code
    return 0

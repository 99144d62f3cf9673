"""What something costs: seconds, and the most memory that the process held meanwhile."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@contextlib.contextmanager
def bounded(seconds: float, megabytes: float) -> Iterator[None]:
    """Fails where the block takes longer, or more memory on top of what is held before; memory on Linux alone."""
    before = _start_measuring()
    began = time.perf_counter()
    try:
        yield
    finally:  # a refusal costs, too
        took = time.perf_counter() - began
        assert took < seconds, f"took {took:.2f} s"
        if before is not None:
            grown = (_kilobytes("VmHWM") - before) / 1024
            assert grown < megabytes, f"took {grown:,.0f} MB"


def _start_measuring() -> int | None:
    """The memory held now, in kB; the system forgets what the peak was."""
    try:
        _RESET.write_text("5")
        return _kilobytes("VmRSS")
    except OSError:
        return None


def _kilobytes(name: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1])

"""What something costs: seconds of computing, and the most memory that the process held meanwhile."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@contextlib.contextmanager
def bounded(seconds: float, megabytes: float) -> Iterator[None]:
    """Fails where the block computes longer, or takes more memory on top of what is held before; memory on Linux alone.

    Seconds are this process's own: what others do meanwhile is not counted. To wait is allowed ten times as long.
    """
    before = _start_measuring()
    began, waited = time.process_time(), time.perf_counter()
    try:
        yield
    finally:  # a refusal costs, too
        took, waited = time.process_time() - began, time.perf_counter() - waited
        assert took < seconds and waited < 10 * seconds, f"took {took:.2f} s, and {waited:.2f} s with waiting"
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

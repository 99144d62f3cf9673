"""What a run's process does before it enters train.py, so that it is disturbed at the place that a test is about.

Each plan is a function of this module: the new process gets its name and arguments. The seams are the calls of train.py
around which a run can be watched; a plan knows nothing else of the code.
"""

import functools
import json
import os
import resource
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.planting import Fault, plant

_write, _kill = os.write, os.kill  # as they are before calls.py counts them


def seam(name: str) -> tuple[Any, str]:
    """The owner and the name of what a run does again and again."""
    import tasks.steps
    import train
    from tasks.classification import Classification
    from training.trainee import Trainee

    return {
        "step": (train, "train_step"),
        "save": (Trainee, "save"),
        "evaluate": (Classification, "scores"),  # 1: before training; the last: after it
        "publish": (train, "save_product"),
        "rows": (tasks.steps.Epochs, "step"),
    }[name]


def around(name: str, enter: Callable[[int], object], leave: Callable[[int], object] = lambda _: None) -> None:
    """Call `enter(n)` before the n-th passing of a seam, n = 1, 2, ..., and `leave(n)` after it."""
    owner, attribute = seam(name)
    plain, count = getattr(owner, attribute), 0

    @functools.wraps(plain)
    def watched(*args: Any, **kwargs: Any) -> Any:
        nonlocal count
        count += 1
        number = count
        enter(number)
        result = plain(*args, **kwargs)
        leave(number)
        return result

    setattr(owner, attribute, watched)


def mark_phases(fifo: Path) -> None:
    """Tell at the other end of `fifo` what the run is doing: "start", then "NAME n" at a seam and "loop" after it."""
    handle = os.open(fifo, os.O_WRONLY)

    def mark(word: str) -> None:
        _write(handle, f"{word}\n".encode())

    mark("start")
    for name in ("step", "save", "evaluate", "publish"):
        around(name, lambda n, name=name: mark(f"{name} {n}"), lambda _: mark("loop"))


def write_rows(log: Path) -> None:
    """Write down which rows of the data set each step takes: [step, rows], steps counted from 0, one a line."""
    import data
    from tasks.steps import Epochs

    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    step, micro_batches, current = Epochs.step, data.Task.micro_batches, -1

    def watched_step(self: Any, number: int) -> Any:
        nonlocal current
        current = number
        return step(self, number)

    def watched_batches(self: Any, rows: list[int], batch_size: int) -> Any:
        _write(handle, (json.dumps([current, rows]) + "\n").encode())
        return micro_batches(self, rows, batch_size)

    Epochs.step, data.Task.micro_batches = watched_step, watched_batches


def signal_at(name: str, number: int, *signals: int) -> None:
    """Get these signals at the n-th passing of a seam, one after the other."""

    def act(n: int) -> None:
        if n == number:
            for each in signals:
                signal.raise_signal(each)

    around(name, act)


def signal_inside(name: str, number: int, what: int) -> None:
    """Get a signal in the middle of the n-th passing of a seam: when it first waits for the disk."""
    plain, inside = os.fsync, False

    def fsync(handle: int) -> None:
        nonlocal inside
        plain(handle)
        if inside:
            inside = False
            signal.raise_signal(what)

    def enter(n: int) -> None:
        nonlocal inside
        inside = n == number

    around(name, enter)
    os.fsync = fsync


def wait_at(name: str, number: int, file: Path) -> None:
    """Wait, at the n-th passing of a seam, until a file is there."""
    around(name, lambda n: wait_for(file) if n == number else None)


def wait_for(file: Path) -> None:
    """Begin when a file is there."""
    while not file.exists():
        time.sleep(0.001)


def die_at(name: str, number: int) -> None:
    """End as a machine does that loses its power, at the n-th passing of a seam."""

    def act(n: int) -> None:
        if n == number:
            die()

    around(name, act)


def die() -> None:
    _kill(os.getpid(), signal.SIGKILL)


def ignore(*signals: int) -> None:
    """As nohup does."""
    for each in signals:
        signal.signal(each, signal.SIG_IGN)


def without_privileges() -> None:
    """As a user who is not root, whom the mode of a directory binds: no capability is in effect."""
    import ctypes

    header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()  # linux/capability.h, version 3
    if os.geteuid() == 0 and ctypes.CDLL(None, use_errno=True).capset(header, none) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def check_unwritable(directory: Path) -> None:
    assert not os.access(directory, os.W_OK, effective_ids=True), f"{directory} can be written after all"


def largest_file(size: int) -> None:
    """Writing beyond `size` bytes fails as on a full disk; Python ignores the signal that comes with it."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def little_room(free: int) -> None:
    """A disk on which `free` bytes are free."""
    plain = shutil.disk_usage
    shutil.disk_usage = lambda path: plain(path)._replace(free=free)


def in_float64() -> None:
    import train

    plain = train.build_model

    def build_model(*args: Any) -> Any:
        model, fingerprint = plain(*args)
        return model.double(), fingerprint

    train.build_model = build_model


def as_rank(rank: int, port: int) -> None:
    """One of two processes, as torchrun starts them."""
    places = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
    addresses = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in (places | addresses).items()})


def slow_disk(seconds: float) -> None:
    """A disk that one has to wait for."""
    plain = os.fsync

    def fsync(handle: int) -> None:
        time.sleep(seconds)
        plain(handle)

    os.fsync = fsync


def look_after_saves(log: Path) -> None:
    """Write down, when this process goes on after a save, which checkpoints are there."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def look(_: int) -> None:
        names = sorted(path.name for path in Path("run/checkpoints").glob("step-*"))
        _write(handle, (json.dumps(names) + "\n").encode())

    around("save", lambda _: None, look)


def with_fault(fault: Fault) -> None:
    """With a mistake planted in the code."""
    plant(fault, pytest.MonkeyPatch())


def watch_memory(log: Path) -> None:
    """Write down, before each step, the bytes that the process holds and the number of its open files."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(_: int) -> None:
        held = [_status("VmRSS"), len(os.listdir("/proc/self/fd"))]
        _write(handle, (json.dumps(held) + "\n").encode())

    around("step", note)


def watch_saves(log: Path) -> None:
    """Write down, for each save, the bytes that the process holds before it, their peak within it, and its seconds."""
    handle, before, began = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 0, 0.0

    def enter(_: int) -> None:
        nonlocal before, began
        Path("/proc/self/clear_refs").write_text("5")  # the peak is what is held now
        before, began = _status("VmRSS"), time.perf_counter()

    def leave(_: int) -> None:
        facts = [before, _status("VmHWM"), time.perf_counter() - began]
        _write(handle, (json.dumps(facts) + "\n").encode())

    around("save", enter, leave)


def _status(name: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def umask(mask: int) -> None:
    os.umask(mask)

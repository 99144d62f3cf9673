"""Runs of train.py in processes of their own, without the seconds that `import torch` takes: a server forks them.

`multiprocessing`'s fork server imports torch and train once and makes no thread, so that its forks are sound. Every run
has one thread, so that their bytes can be compared, and a process group, so that a signal reaches all of it.
"""

import functools
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT = 120  # seconds that no run of these tests comes near
PLANTED: list[Callable[[], object]] = []  # what all runs do first, while a mistake is looked for


@dataclass
class Run:
    """A run that was started. Its exit code is -n where signal n killed it."""

    process: ForkServerProcess
    cwd: Path
    out: Path
    err: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def stdout(self) -> str:
        return _text(self.out)

    @property
    def stderr(self) -> str:
        return _text(self.err)

    def send(self, number: int) -> None:
        """Send a signal, unless the run has ended."""
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            pass

    def finish(self, timeout: float = TIMEOUT) -> int:
        """Wait for its end. One that does not come to an end is a failure, and is not left behind."""
        self.process.join(timeout)
        if self.process.exitcode is None:
            os.killpg(self.pid, signal.SIGKILL)
            self.process.join(10)
            raise AssertionError(f"no end after {timeout} s; it said:\n{self.stdout}\n{self.stderr}")
        return self.process.exitcode


def wait_for(condition: Callable[[], object], what: str, timeout: float = TIMEOUT, run: Run | None = None) -> None:
    """Wait until a condition holds. Too long is a failure, and so is the end of the run that is to bring it about."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {timeout} s; {run and (run.stdout, run.stderr)}"
        assert run is None or run.process.exitcode is None, f"{what}: it ended before; {(run.stdout, run.stderr)}"
        time.sleep(0.005)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""  # not begun yet


class Server:
    """Starts runs. All of them read the same base and rows; each has a directory of its own to work in."""

    def __init__(self) -> None:
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["pytest", "tests.trust.imports"])
        self.number = 0
        self.runs: list[Run] = []

    def close(self) -> None:
        """Leave nothing behind: a run that a failed test has not ended would be waited for at Python's end."""
        for run in self.runs:
            if run.process.exitcode is None:
                os.killpg(run.pid, signal.SIGKILL)
                run.process.join(10)

    def start(
        self,
        argv: Sequence[object],
        cwd: Path,
        before: Sequence[Callable[[], object]] = (),
        entry: Callable[[list[str]], int] | None = None,
    ) -> Run:
        """`python train.py argv` in `cwd`, or another entry; what is in `before` is called in the new process first."""
        self.number += 1
        out, err = (cwd / f"{self.number}.{name}" for name in ("out", "err"))
        arguments = (list(map(str, argv)), cwd, (*PLANTED, *before), entry or door, out, err)
        process = self.context.Process(target=_run, args=arguments, daemon=True)
        process.start()
        self.runs.append(Run(process, cwd, out, err))
        return self.runs[-1]

    def run(self, argv: Sequence[object], cwd: Path, *before: Callable[[], object], expect: int | None = 0) -> Run:
        """The same, and its end. Another exit code than expected is a failure, and so is a traceback."""
        run = self.start(argv, cwd, before)
        code = run.finish()
        assert "Traceback" not in run.stderr, run.stderr
        assert expect is None or code == expect, f"exit code {code}; it said:\n{run.stdout}\n{run.stderr}"
        return run


def _run(
    argv: list[str], cwd: Path, before: tuple[Callable[[], object], ...], entry: Callable, out: Path, err: Path
) -> None:
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(cwd)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    for handle, path in ((1, out), (2, err)):
        os.dup2(os.open(path, flags, 0o666), handle)
    sys.stdout, sys.stderr = (os.fdopen(handle, "w", 1, encoding="utf-8", closefd=False) for handle in (1, 2))
    try:
        for prepare in before:
            prepare()
        code = entry(argv)
    except BaseException:  # noqa: BLE001 - what Python itself would do with it
        traceback.print_exc()
        code = 1
    for stream in (sys.stdout, sys.stderr):
        if not stream.closed:
            stream.flush()
    os._exit(code)


def door(argv: list[str]) -> int:
    """What stands at the end of train.py."""
    import train
    from training.distributed import run_together
    from training.errors import run_door

    return run_door(lambda: run_together(train.main, lambda: train.read_settings(argv)))


def torchrun(argv: list[str]) -> int:
    """torchrun itself, two processes; they are started with `python`, as always."""
    from torch.distributed.run import main

    tempfile.tempdir = os.getcwd()  # where its logs go
    main(["--standalone", "--nproc_per_node", "2", *argv])
    return 0


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


plan = functools.partial  # what is called in the new process must be a function of a module, and its arguments

"""The one owner of a run's directory: lock, marker, sweep, settings, log, checkpoints, and how the run ended.

A directory is a run's if the marker is in it. Without the marker nothing is ever deleted there; with it, only what a
run writes.
"""

import contextlib
import dataclasses
import errno
import json
import os
import shlex
import socket
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import filelock

from training.checkpoint import prune_checkpoints, save_checkpoint
from training.distributed import ALONE, Ranks, launch, lost_connection
from training.errors import DiedError, DiskError, Stopped, UsageError, explain, visible
from training.files import free_bytes, remove, sweep, write_atomically
from training.log import MetricsLog
from training.settings import to_toml
from training.signals import ended_by_signals

MARKER = ".run"
_OWN = ("config.toml", "metrics.jsonl", "status.json", "results.json", "adapter", "model", "checkpoints", "snapshots")
_REPORT = "report.html"  # explain.py's, of this run: beside the next one it would tell of what is gone
_WORDS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EFBIG: "the file would be larger than files may be here",
    errno.EIO: "the disk reports an error",
}


class Run:
    """What a run writes. Every process has one; only that of rank 0 touches the disk."""

    def __init__(self, path: Path, ranks: Ranks = ALONE, again: str = ""):
        self.path, self.ranks = path, ranks
        self.again = again  # what goes on with the run
        self.log = MetricsLog(None)
        self.last: Path | None = None  # the newest checkpoint known to be whole
        self._status: dict[str, Any] | None = None  # None: nothing has begun that would change what is there

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def open_log(self, step: int, unscored: bool) -> list[str]:
        """metrics.jsonl, to be continued after `step`; returns what the user should know of it."""
        later = self.checkpoints / "aside" / f"metrics-after-{step:06d}.jsonl"
        path = self.path / "metrics.jsonl" if self.ranks.is_main else None
        self.log = MetricsLog(path, step, unscored=unscored, later=later)
        self.begin(step)
        return self.log.told

    def check_room(self, size: int, keep: int) -> None:
        """Raise DiskError if the disk cannot take two checkpoints of `size` bytes; say so where it is near."""
        if not self.ranks.is_main:
            return
        free, most = free_bytes(self.path), (keep + 2) * size  # the newest, the best and the one being written
        where = f"{self.path}: {free / 1e6:,.0f} MB are free"
        if free < 2 * size:
            raise DiskError(f"{where}; two checkpoints of {size / 1e6:,.0f} MB must fit: make room, or save elsewhere")
        if free < most:
            print(f"{where}; with --save_total_limit {keep} the checkpoints may take {most / 1e6:,.0f} MB")

    def save(self, step: int, tensors: dict[str, Any], values: dict[str, Any], *, keep: int, best_step: int | None):
        """Publish a checkpoint; then older ones go, never the best or the last whole one. For rank 0."""
        self.log.flush()  # else a power cut could leave a checkpoint and not the entries of its steps
        self.last = save_checkpoint(self.checkpoints, step, tensors, values)
        for line in prune_checkpoints(self.checkpoints, keep, best_step):
            print(line)
        self.note("running", step=step)

    def begin(self, step: int) -> None:
        """From here on status.json tells of this run, or of this part of it; a refusal before leaves it as it was."""
        self._status = {"pid": os.getpid(), "host": socket.gethostname(), "began": _now()}
        self.note("running", step=step)

    def note(self, status: str, **facts: Any) -> None:
        """status.json: how the run stands, or how it ended."""
        if self.ranks.is_main and self._status is not None:
            self._status |= {"status": status, "noted": _now()} | facts
            write_atomically(self.path / "status.json", json.dumps(self._status, indent=2) + "\n")

    @contextlib.contextmanager
    def told(self, fresh: bool = True) -> Iterator[None]:
        """Around a run: status.json says how it ended, and the errors of the disk and of a stop how to go on."""
        try:
            if fresh:
                self.begin(0)
            with ended_by_signals():
                yield
            self.note("finished", exit_code=0)
        except OSError as error:
            words = _WORDS.get(error.errno, error.strerror or str(error))
            where = error.filename or self.path
            kept = f"the last whole checkpoint is {self.last}" if self.last else "no checkpoint was saved before"
            told: BaseException = DiskError(f"{where}: {words}; {kept}")
            self._end(told)
            raise told from error
        except Stopped as stopped:
            told = Stopped(f"{stopped}; go on with: {self.again}", stopped.exit_code - 128)
            self._end(told, "stopped")
            raise told from None
        except BaseException as error:
            if not lost_connection(error):
                self._end(error)
                raise
            kept = f"go on from {self.last}" if self.last else "start again"
            told = DiedError(f"another process of this run has died or does not answer; {kept}")
            self._end(told)
            raise told from None

    def _end(self, error: BaseException, status: str = "failed") -> None:
        message, code = explain(error, "") or (f"{type(error).__name__}: {error}", 1)
        with contextlib.suppress(OSError):  # the disk may be why
            self.note(status, exit_code=code, message=visible(message.removeprefix("error: ")))


@contextlib.contextmanager
def open_run(
    output_dir: str | None, default: Path, ranks: Ranks = ALONE, *, resume: bool = False, overwrite: bool = False,
    reads: Iterable[str | None] = (), again: str = "python train.py --resume_from_checkpoint {run}",
) -> Iterator[Run]:  # fmt: skip
    """The directory of a run, locked while the block lasts, with what killed runs left half written swept out.

    Without `output_dir` the run gets `default`, or `default-2`, ... if that is taken. A directory that holds a run is
    used only to resume it or to overwrite it. Overwriting deletes a run's own files and no others, and nothing that
    the new run `reads`. Raises UsageError; what ends the block is in status.json.
    """
    with contextlib.ExitStack() as stack:
        path = stack.enter_context(_held(output_dir, default, resume, overwrite, reads)) if ranks.is_main else None
        path = Path(ranks.everyone(str(path))[0])
        run = Run(path, ranks, again.replace("{run}", shlex.quote(str(path))))
        with run.told(fresh=not resume):
            yield run


@contextlib.contextmanager
def _held(
    output_dir: str | None, default: Path, resume: bool, overwrite: bool, reads: Iterable[str | None]
) -> Iterator[Path]:
    path = _next_free(default) if output_dir is None else Path(output_dir)
    if path.exists() and not path.is_dir():
        raise UsageError(f"--output_dir {path}: is a file")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--output_dir {path}: cannot be created ({error.strerror})") from None
    with locked(path):
        marked = (path / MARKER).is_file()
        for name in [] if resume else _to_delete(output_dir, overwrite, reads):
            remove(path / name)
        content = {"what": "a run of train.py, which may delete its own files here", "launch": launch()}
        content |= {"pid": os.getpid(), "host": socket.gethostname()}
        (path / MARKER).write_text(json.dumps(content) + "\n", encoding="utf-8")  # half a marker is one, too
        if marked:
            for directory in (path, path / "checkpoints", path / "snapshots"):
                sweep(directory)
        yield path


def look_ahead(output_dir: str | None, overwrite: bool, reads: Iterable[str | None]) -> None:
    """Raise the UsageErrors of a new run in `output_dir` before it has loaded anything; nothing is changed there."""
    if output_dir is not None and (Path(output_dir) / MARKER).is_file():
        with locked(Path(output_dir)):
            pass
    _to_delete(output_dir, overwrite, reads)


def _to_delete(output_dir: str | None, overwrite: bool, reads: Iterable[str | None]) -> list[str]:
    """What a new run in `output_dir` has to delete; raises UsageError where it must not. Nothing is touched."""
    if output_dir is None:
        return []
    path = Path(output_dir)
    marked = (path / MARKER).is_file()
    found = [name for name in _OWN if os.path.lexists(path / name)]
    if not found or (marked and found == ["status.json"]):  # a run that died before it wrote its settings
        return []
    if not marked:
        raise UsageError(
            f"{path}: holds {', '.join(found)}, and no run has marked it as its own ({MARKER}), so nothing is deleted "
            "there; give another --output_dir"
        )
    if not overwrite:
        again = f"--resume_from_checkpoint {shlex.quote(str(path))}"
        raise UsageError(f"{path}: holds a run; give another --output_dir, {again} or --overwrite")
    found += [_REPORT] * os.path.lexists(path / _REPORT)
    doomed = {(path / name).resolve() for name in found}
    for name in filter(None, reads):
        if doomed & {Path(name).resolve(), *Path(name).resolve().parents}:
            raise UsageError(f"--overwrite: would delete {name}, from which this run reads; give another --output_dir")
    return found


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold `directory` for one run; a second one gets a UsageError that names the holder.

    The operating system frees the lock when the process ends, however it ends.
    """
    lock = filelock.FileLock(directory / ".lock", blocking=False)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise _held_by_another(directory, "wait for it or give another --output_dir") from None
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP):
            raise
        lock = filelock.SoftFileLock(directory / ".lock.held", blocking=False)
        try:
            lock.acquire()
        except filelock.Timeout:
            advice = f"this file system has no locks, so if none is, delete {directory / '.lock.held'}"
            raise _held_by_another(directory, advice) from None
    try:
        yield
    finally:
        lock.release()


def _held_by_another(directory: Path, advice: str) -> UsageError:
    try:
        marker = json.loads((directory / MARKER).read_text(encoding="utf-8"))
        holder = f" (process {int(marker['pid'])} on {str(marker['host']):.80})"
    except (OSError, ValueError, KeyError, TypeError):
        holder = ""
    return UsageError(f"{directory}: another run{holder} is writing there; {advice}")


def run_of_launch(output_dir: str | None, default: Path) -> Path | None:
    """The run that an earlier start of these same processes has begun: torchrun starts all anew when one has died."""
    for path in [Path(output_dir)] if output_dir else _names(default):
        try:
            content = json.loads((path / MARKER).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            content = None
        if isinstance(content, dict) and content.get("launch") == launch() and (path / "config.toml").is_file():
            return path
        if not os.path.lexists(path):
            return None
    return None


def _names(default: Path) -> Iterator[Path]:
    yield default
    number = 2
    while True:
        yield default.with_name(f"{default.name}-{number}")
        number += 1


def _next_free(default: Path) -> Path:
    """`runs/tiny`, `runs/tiny-2`, ...: mkdir decides, so that two runs started at once get two names."""
    try:
        default.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError:  # a file, or a link that leads nowhere
        raise UsageError(f"{default.parent}: is in the way of the runs; move it or give --output_dir") from None
    for path in _names(default):
        try:
            path.mkdir()
            return path
        except FileExistsError:
            continue
    raise AssertionError("there is always a next name")


def write_config(run: Path, config: Any, **resolved: Any) -> None:
    """`config.toml`: every setting as it was used."""
    write_atomically(run / "config.toml", to_toml(dataclasses.replace(config, **resolved)))


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")

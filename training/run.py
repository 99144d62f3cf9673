"""A run's directory: how it gets its name, what is in it, and that no second run writes over it."""

import contextlib
import dataclasses
import json
import math
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from training.errors import UsageError
from training.files import locked, write_atomically
from training.settings import to_toml

_OWN = ("config.toml", "metrics.jsonl", "results.json", "adapter", "model", "checkpoints")


@contextlib.contextmanager
def open_run(output_dir: str | None, default: Path, *, resume: bool, overwrite: bool) -> Iterator[Path]:
    """The directory of a run, locked while the block lasts.

    Without `output_dir` the run gets `default`, or `default-2`, ... if that is taken. A directory that holds a run
    is used only to resume it or to overwrite it; overwriting deletes a run's own files and no others.
    """
    if output_dir is None:
        path = _next_free(default)
    else:
        path = Path(output_dir)
        if path.exists() and not path.is_dir():
            raise UsageError(f"--output_dir {path}: is a file")
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"--output_dir {path}: cannot be created ({error.strerror})") from None
    with locked(path):
        if not resume and any((path / name).exists() for name in _OWN):
            if not overwrite:
                raise UsageError(
                    f"{path}: holds a run; give another --output_dir, --resume_from_checkpoint {path} or --overwrite"
                )
            for name in _OWN:
                shutil.rmtree(path / name) if (path / name).is_dir() else (path / name).unlink(missing_ok=True)
        yield path


def _next_free(default: Path) -> Path:
    """`runs/tiny`, `runs/tiny-2`, ...: mkdir decides, so that two runs started at once get two names."""
    number = 1
    while True:
        path = default if number == 1 else default.with_name(f"{default.name}-{number}")
        try:
            path.mkdir(parents=True)
            return path
        except FileExistsError:
            number += 1


def write_config(run: Path, config: Any, **resolved: Any) -> None:
    """`config.toml`: every setting as it was used."""
    write_atomically(run / "config.toml", to_toml(dataclasses.replace(config, **resolved)))


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """The entries of a run's `metrics.jsonl`."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


class MetricsLog:
    """`metrics.jsonl`: one JSON object a line, in the order of the steps, also after a resume."""

    def __init__(self, path: Path | None, from_step: int = 0):
        self.path = path  # None: another process writes it
        if path is None:
            return
        kept = [line for line in self._lines() if json.loads(line)["step"] <= from_step]
        write_atomically(path, "".join(line + "\n" for line in kept))

    def write(self, **entry: Any) -> None:
        """Add a line. JSON has no infinity: the gradient norm of a step that fp16 skipped becomes null."""
        if self.path is None:
            return
        entry = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in entry.items()}
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(entry, allow_nan=False) + "\n")

    def _lines(self) -> list[str]:
        if not self.path.exists():
            return []
        lines = self.path.read_text(encoding="utf-8").split("\n")
        return lines[:-1]  # what follows the last newline was cut off in the middle of a write


class StopRequest:
    """Ctrl-C and SIGTERM ask the loop to stop after its current step; a second one stops at once."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __enter__(self) -> "StopRequest":
        self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: Any) -> None:
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number

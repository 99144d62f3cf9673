"""metrics.jsonl: what a run has measured, one JSON object a line, in the order of the steps, also after a resume."""

import json
import math
from pathlib import Path
from typing import Any

from training.files import flush, free_name, write_atomically


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """The entries of a run's `metrics.jsonl`."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


class MetricsLog:
    """The log of a run that begins, or that goes on after `from_step`.

    Then the entries of later steps move to `later` (a file beside the checkpoints put aside), since these steps are
    made again; `unscored` says that the evaluation after `from_step` is made again, too. `told` says what was moved
    or could not be read.
    """

    def __init__(self, path: Path | None, from_step: int = 0, *, unscored: bool = False, later: Path | None = None):
        self.path, self.told = path, []  # no path: another process writes it
        if path is None:
            return
        kept, moved, broken = [], [], 0
        for line in self._lines():
            entry = _entry(line)
            if entry is None:
                broken += 1
                continue
            if entry["step"] > from_step:
                moved.append(line)
            elif not (unscored and entry["step"] == from_step and "part" in entry):
                kept.append(line)
        if broken:
            self.told.append(f"{path}: {broken} damaged line{'s' * (broken > 1)} left out")
        if moved and later is not None:
            later = free_name(later)
            write_atomically(later, "".join(line + "\n" for line in moved))
            self.told.append(f"{path}: what stood there of later steps is now in {later}")
        write_atomically(path, "".join(line + "\n" for line in kept))

    def write(self, **entry: Any) -> None:
        """Add a line. JSON has no infinity: the gradient norm of a step that fp16 skipped becomes null."""
        if self.path is None:
            return
        entry = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in entry.items()}
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(entry, allow_nan=False) + "\n")

    def flush(self) -> None:
        """Wait until it is on the disk: a checkpoint must not outlive the entries of the steps before it."""
        if self.path is not None:
            flush(self.path)

    def _lines(self) -> list[str]:
        if not self.path.exists():
            return []
        lines = self.path.read_text(encoding="utf-8", errors="replace").split("\n")
        return lines[:-1]  # what follows the last newline was cut off in the middle of a write


def _entry(line: str) -> dict[str, Any] | None:
    """What a line says; None for one that a power cut has filled with zeros, or that is no entry."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) and type(entry.get("step")) is int else None

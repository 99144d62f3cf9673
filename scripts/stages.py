"""Commands in stages, each under a limit of its own, and a record that is whole after every one of them.

A command says what it measured in a JSON file, which it may write again and again: what stands there when it fails or
is stopped counts. Its path goes where `{json}` stands among the arguments, the seconds it has where `{seconds}` does.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training.files import write_atomically

TAIL, GRACE = 25, 3.0  # lines kept of a command that failed; seconds between asking it to end and ending it
LEAST = 2.0  # seconds: with less there is no point in starting
LOG_SIZE = 400_000  # bytes of each command's output that are kept


@dataclass(frozen=True)
class Command:
    name: str
    words: Sequence[str]
    measured: Path | None = None  # where its numbers will stand, if it does not take {json}
    missing: str = ""  # why it cannot run: then it is skipped, and this is said


@dataclass(frozen=True)
class Stage:
    name: str
    seconds: float  # planned; a stage may also use what those before it left over, and nothing of those after it
    commands: Sequence[Command]
    together: bool = False  # all at once, where nothing is timed


@dataclass
class Record:
    """`summary` is what `out/summary.json` holds; the commands' output is added to `out/log.txt`."""

    out: Path
    work: Path  # a folder for what need not be kept
    say: Callable[[str], None] = print
    summary: dict[str, Any] = field(default_factory=dict)

    def write(self) -> None:
        write_atomically(self.out / "summary.json", json.dumps(self.summary, indent=1) + "\n")

    def log(self, name: str, text: str) -> None:
        with (self.out / "log.txt").open("a", encoding="utf-8") as file:
            file.write(f"===== {name}\n{text[-LOG_SIZE:]}\n")


class Running:
    """A command's process, in a group of its own, so that what it started ends with it."""

    def __init__(self, command: Command, seconds: float, record: Record, root: Path):
        self.command, self.began, self.limit = command, time.perf_counter(), seconds
        stem = record.work / command.name.replace(" ", "-")
        self.json = command.measured or stem.with_suffix(".json")
        self.output = stem.with_suffix(".log")
        words = [w.replace("{json}", str(self.json)).replace("{seconds}", f"{seconds:.0f}") for w in command.words]
        quiet = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "PYTHONUNBUFFERED": "1"}
        paths = {"PYTHONPATH": os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])}
        with self.output.open("w", encoding="utf-8") as file:
            self.process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, cwd=root,
                env=os.environ | quiet | paths, start_new_session=True,
            )  # fmt: skip

    def finish(self, deadline: float) -> dict[str, Any]:
        """Wait until the command ends, or end it at `deadline` (of time.perf_counter); what is to be said of it."""
        status = "ok"
        try:
            if self.process.wait(max(0.0, deadline - time.perf_counter())):
                status = f"failed (exit code {self.process.returncode})"
        except subprocess.TimeoutExpired:
            status = f"stopped after {self.limit:.0f} s"
        self.stop()
        found: dict[str, Any] = {"status": status, "seconds": round(time.perf_counter() - self.began, 2)}
        try:
            found["measured"] = json.loads(self.json.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # it wrote nothing, or was stopped while it wrote
            pass
        lines = self.text().splitlines()
        found["last_lines"] = lines[-1:] if status == "ok" else lines[-TAIL:]
        return found

    def text(self) -> str:
        return self.output.read_text(encoding="utf-8", errors="replace").strip()

    def stop(self) -> None:
        """End what is left of the group."""
        for number, patience in ((signal.SIGTERM, GRACE), (signal.SIGKILL, None)):
            try:
                os.killpg(self.process.pid, number)
                self.process.wait(patience)
            except ProcessLookupError:
                return
            except subprocess.TimeoutExpired:
                pass


def run_stages(stages: Sequence[Stage], record: Record, deadline: float, root: Path) -> None:
    """All stages in order, until `deadline` (of time.perf_counter); no failure of one keeps the next from running."""
    record.summary["stages"] = {}
    for number, stage in enumerate(stages):
        later = sum(s.seconds for s in stages[number + 1 :])
        limit = deadline - time.perf_counter() - later
        record.say(f"{stage.name}: at most {max(0.0, limit):.0f} s")
        began = time.perf_counter()
        commands = run_stage(stage, limit, record, root)
        passed = {"seconds": round(time.perf_counter() - began, 2), "commands": commands}
        record.summary["stages"][stage.name] = passed
        record.write()


def run_stage(stage: Stage, seconds: float, record: Record, root: Path) -> dict[str, dict[str, Any]]:
    """What each command of the stage did. One after the other, they share the time that is left evenly."""
    until, found = time.perf_counter() + seconds, {}
    ready = []
    for command in stage.commands:
        if command.missing:
            found[command.name] = {"status": "skipped", "seconds": 0.0, "last_lines": [command.missing]}
        else:
            ready.append(command)
    running: list[Running] = []
    try:
        for number, command in enumerate(ready):
            waiting = 1 if stage.together else len(ready) - number
            share = (until - time.perf_counter()) / waiting
            if share < LEAST:
                found[command.name] = {"status": "skipped", "seconds": 0.0, "last_lines": ["no time was left"]}
                continue
            running.append(Running(command, share, record, root))
            if not stage.together:
                close(running.pop(), found, record)
        while running:
            close(running.pop(0), found, record)
    finally:
        for left in running:
            left.stop()
    return found


def close(running: Running, found: dict[str, dict[str, Any]], record: Record) -> None:
    name = running.command.name
    try:
        found[name] = running.finish(running.began + running.limit)
    finally:
        running.stop()
        record.log(name, running.text())
    record.say(f"  {name}: {found[name]['status']}, {found[name]['seconds']:.1f} s")

"""Lanes take turns: each is a process of its own that computes only when asked, so that timings can alternate.

A request is a line of JSON on the lane's standard input, an answer a line on its standard output. What else a lane
prints goes to its log.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


class LaneError(ValueError):
    """A lane that came to an end before its time."""

    exit_code = 4


class Worker:
    """The driver's end: starts a lane, waits until it is ready for its first step, and asks.

    `start` is seconds from the start of the process: {"import": its modules are there, "ready": the first step can
    begin}.
    """

    def __init__(self, kind: str, precision: str, plan: Path):
        self.kind = kind
        self.log = plan.with_name(f"{kind}-{precision}.log")
        command = [sys.executable, "-m", "benchmarks.speed.worker", kind, precision, str(plan)]
        # Trainer spreads a batch over all the GPUs it sees; a comparison is of one.
        gpu = {"CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]}
        quiet = {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
        environment = os.environ | quiet | gpu | {"PYTHONPATH": str(ROOT)}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "encoding": "utf-8"}
        began = time.time()
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, stderr=log, env=environment, cwd=plan.parent, **pipes)
        self.start = {name: at - began for name, at in self._answer().items()}

    def ask(self, do: str, **arguments: Any) -> Any:
        try:
            self.process.stdin.write(json.dumps({"do": do} | arguments) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # _answer says what happened
        return self._answer()

    def _answer(self) -> Any:
        line = self.process.stdout.readline()
        if not line:
            self.close()
            said = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["it said nothing"]
            raise LaneError(f"lane {self.kind} stopped (exit code {self.process.returncode}): {said[-1]}")
        return json.loads(line)

    def close(self) -> None:
        """End the process; closing its input asks it to, and a lane deep in a computation is not waited for."""
        self.process.stdin.close()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Desk:
    """The lane's end."""

    def __init__(self):
        # Libraries print where they like; the way to the driver is a copy of stdout that they do not know.
        self.answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)

    def tell(self, value: Any) -> None:
        self.answers.write(json.dumps(value) + "\n")
        self.answers.flush()

    def wait_for_step(self, lane: Any) -> dict[str, Any]:
        """Answer requests with the lane's methods of that name until a step is asked for; return what it asks.

        Exits where the driver has hung up.
        """
        for line in sys.stdin:
            request = json.loads(line)
            do = request.pop("do")
            if do == "step":
                return request
            self.tell(getattr(lane, do)(**request))
        sys.exit(0)

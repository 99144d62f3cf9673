"""Named lanes timed on a given workload: the same steps in turn; seconds, memory, losses, and a profile if asked for.

compare.py asks more of fixed lanes (do they agree?); this is for whoever has lanes and minutes to choose. A lane that
comes to an end before its time, because a GPU's memory is full, leaves the others alone.
"""

import contextlib
import dataclasses
import itertools
import math
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.contest import Entry, there_and_back
from benchmarks.plan import Plan
from benchmarks.turns import LaneError, Worker

Schedule = list[list[int]]


class TimedLane:
    """A lane and what is found out about it. Once it has died it answers None, and `found` says why."""

    def __init__(self, entry: Entry, plan: Plan, directory: Path):
        self.found: dict[str, Any] = {"seconds": [], "losses": [], "rows": 0}
        self.schedule = plan.schedule
        self.worker: Worker | None = None
        directory.mkdir(parents=True, exist_ok=True)
        plan.save(directory / "plan.json")
        try:
            self.worker = Worker(entry.kind, entry.precision, directory / "plan.json")
        except LaneError as error:
            self.found["error"] = str(error)

    def ask(self, do: str, **arguments: Any) -> Any:
        if self.worker is None:
            return None
        try:
            return self.worker.ask(do, **arguments)
        except LaneError as error:
            self.worker, self.found["error"] = None, str(error)
            return None

    def step(self, timed: bool) -> None:
        answer = self.ask("step")
        if answer:
            if timed:
                self.found["seconds"].append(answer["seconds"])
                self.found["rows"] += len(self.schedule[len(self.found["losses"])])
            self.found["losses"].append(answer["loss"])

    def finish(self, eval_rows: list[int], profiled: bool) -> None:
        self.found["sizes"] = self.ask("sizes")
        if eval_rows:
            self.ask("evaluate", rows=eval_rows)  # not timed: a GPU loads its kernels
            self.found["evaluated"] = self.ask("evaluate", rows=eval_rows)
        if profiled:
            self.ask("start_profile")
            answer = self.ask("step")
            self.found["profile"] = answer and {"seconds": answer["seconds"]} | self.ask("end_profile")

    def close(self) -> None:
        if self.worker:
            self.worker.close()


def time_lanes(
    lanes: Mapping[str, Entry],
    plan: Plan,
    work: Path,
    warmup: int = 10,
    steps: int = 40,
    schedules: Mapping[str, Schedule] | None = None,
    eval_rows: list[int] | None = None,
    profiled: bool = False,
    patience: float = math.inf,
) -> dict[str, dict[str, Any]]:
    """Each lane takes `warmup` steps and then, in turn with the others, `steps` timed ones, on `plan.device`.

    A lane goes through the batches of `plan.schedule`, or of its own in `schedules`, again and again. `work` is a
    directory for the lanes' files. All start at once; `patience` seconds after they are ready no further turn begins.
    Per lane:

        seconds    of each timed step
        losses     of all steps; dropout is on
        rows       of all timed steps together
        sizes      bytes: "peak_memory" (on a GPU of its tensors), "optimizer", "adapter"
        evaluated  with `eval_rows`: "seconds", "predictions"
        profile    with `profiled`, of one step more: "seconds", and what benchmarks.parts.work_of gives
        error      why the lane came to an end before its time; what it did not answer is None
    """

    def start(name: str) -> TimedLane:
        batches = itertools.cycle((schedules or {}).get(name, plan.schedule))
        own = dataclasses.replace(plan, schedule=list(itertools.islice(batches, warmup + steps + profiled)))
        return TimedLane(lanes[name], own, work / name)

    with contextlib.ExitStack() as stack, ThreadPoolExecutor(len(lanes)) as pool:
        running = dict(zip(lanes, pool.map(start, lanes)))
        for lane in running.values():
            stack.callback(lane.close)
        end = time.monotonic() + patience
        for turn in range(warmup + steps):
            if time.monotonic() > end:
                break
            for name in there_and_back(lanes, turn):
                running[name].step(timed=turn >= warmup)
        for lane in running.values():
            lane.finish(eval_rows or [], profiled)
    return {name: lane.found for name, lane in running.items()}

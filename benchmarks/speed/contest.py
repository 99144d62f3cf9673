"""Lanes against each other on the same batches, one step each in turn.

First without dropout, where all must find the same losses while they train; then as training is, with dropout, every
batch `repeats` times. A lane waits, idle, while another computes.
"""

import contextlib
import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.speed.plan import Plan
from benchmarks.speed.turns import LaneError, Worker

AGREEING_STEPS = 3  # the second and third loss depend on gradients and AdamW as well; --batches is no less
TOLERANCE = {"cpu": 1e-5, "cuda": 1e-4}  # by device: a GPU adds up in another order from kernel to kernel


@dataclass(frozen=True)
class Entry:
    kind: str  # of lane, see worker.py
    precision: str = "fp32"


@dataclass(frozen=True)
class Course:
    """What the entries of a contest have to do."""

    batches: list[list[int]]  # rows, in order of the longest
    tokens: list[int]  # real tokens of each batch
    repeats: int
    eval_rows: list[int]  # none: no evaluation

    def thinned(self, count: int) -> "Course":
        """The same with at most `count` of its batches, spread evenly; rather the one with the shorter rows."""
        n = len(self.batches)
        at = [int((i + 0.5) * n / count - 0.5) for i in range(count)] if count < n else range(n)
        return dataclasses.replace(self, batches=[self.batches[i] for i in at], tokens=[self.tokens[i] for i in at])

    def write(self, plan: Plan, work: Path) -> Path:
        path = work / "plan.json"
        schedule = self.batches[:AGREEING_STEPS] + self.batches * self.repeats
        dataclasses.replace(plan, schedule=schedule).save(path)
        return path


@dataclass
class Result:
    """What one entry did."""

    entry: Entry
    start: list[dict[str, float]] = field(default_factory=list)  # seconds until imported, until ready
    losses: list[float] = field(default_factory=list)  # of the steps without dropout
    seconds: list[list[float]] = field(default_factory=list)  # per batch, of each repeat
    products: list[list[dict[str, float]]] = field(default_factory=list)  # per batch: torch.mm's time and FLOP
    sizes: dict[str, int] = field(default_factory=dict)
    eval_seconds: list[float] = field(default_factory=list)
    predictions: list[int] = field(default_factory=list)

    @property
    def step_medians(self) -> list[float]:
        return [median(repeats) for repeats in self.seconds]


def hold_contest(entries: dict[str, Entry], course: Course, plan: Plan, work: Path) -> dict[str, Result]:
    """Ends after the steps without dropout if the lanes differ there: `losses_agree` says whether they do."""
    path = course.write(plan, work)
    results = {name: Result(entry) for name, entry in entries.items()}
    with contextlib.ExitStack() as stack:
        workers = {}
        for name, entry in entries.items():
            workers[name] = stack.enter_context(Worker(entry.kind, entry.precision, path))
            results[name].start.append(workers[name].start)
        train_without_dropout(workers, results)
        if not losses_agree(results, plan.device):
            return results
        take_turns(workers, results, course)
        for name, worker in workers.items():
            results[name].sizes = worker.ask("sizes")
            worker.ask("draw")  # dropout has led the lanes to different weights; again all have the same
        for repeat in range(course.repeats if course.eval_rows else 0):
            for name in there_and_back(workers, repeat):
                answer = workers[name].ask("evaluate", rows=course.eval_rows)
                results[name].eval_seconds.append(answer["seconds"])
                results[name].predictions = answer["predictions"]
    return results


def train_without_dropout(workers: dict[str, Worker], results: dict[str, Result]) -> None:
    drawn = {name: worker.ask("draw") for name, worker in workers.items()}
    first = next(iter(drawn))
    for name, names in drawn.items():
        if names != drawn[first]:
            odd = sorted(set(names) ^ set(drawn[first]))
            raise LaneError(f"lanes {first} and {name} do not train the same tensors: {', '.join(odd[:4])}")
    for name, worker in workers.items():
        worker.ask("dropout", on=False)
        results[name].losses = [worker.ask("step")["loss"] for _ in range(AGREEING_STEPS)]
        worker.ask("dropout", on=True)


def loss_differences(results: dict[str, Result]) -> dict[str, float]:
    """The largest difference of each entry's losses from the first's in fp32; infinite where one is no number."""
    first = first_in_fp32(results).losses
    differences = {name: [abs(a - b) for a, b in zip(r.losses, first)] for name, r in results.items()}
    return {name: math.inf if any(map(math.isnan, d)) else max(d) for name, d in differences.items()}


def first_in_fp32(results: dict[str, Result]) -> Result:
    return next(result for result in results.values() if result.entry.precision == "fp32")


def losses_agree(results: dict[str, Result], device: str = "cpu") -> bool:
    """Judged in fp32 alone: bf16 keeps three digits. (Its gradients are judged by rule_e.py.)"""
    differences = loss_differences(results)
    return all(differences[name] <= TOLERANCE[device] for name, r in results.items() if r.entry.precision == "fp32")


def predictions_differ(results: dict[str, Result]) -> dict[str, int]:
    """How many of the evaluated rows each entry gives another label than the first in fp32."""
    first = first_in_fp32(results).predictions
    return {name: sum(a != b for a, b in zip(r.predictions, first)) for name, r in results.items()}


def take_turns(workers: dict[str, Worker], results: dict[str, Result], course: Course) -> None:
    for result in results.values():
        result.seconds = [[] for _ in course.batches]
        result.products = [[] for _ in course.batches]
    for repeat in range(course.repeats):
        for number, (rows, tokens) in enumerate(zip(course.batches, course.tokens)):
            for name in there_and_back(workers, repeat + number):
                results[name].seconds[number].append(workers[name].ask("step")["seconds"])
                if results[name].entry.kind == "ours":
                    products = workers[name].ask("products", tokens=tokens, rows=len(rows))
                    results[name].products[number].append(products)


def there_and_back(names: Iterable[str], turn: int) -> list[str]:
    """Every second turn in reverse, so that no lane always follows the same other."""
    return list(names)[:: -1 if turn % 2 else 1]


def time_starts(results: dict[str, Result], names: Sequence[str], plan: Path, times: int) -> None:
    """Start these lanes again and again, in turn, up to where the first step could begin."""
    for turn in range(times):
        for name in there_and_back(names, turn):
            with Worker(results[name].entry.kind, results[name].entry.precision, plan) as worker:
                results[name].start.append(worker.start)

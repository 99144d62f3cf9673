"""This project's gains one at a time: the plain form first, then one fast form after the other put in beside it."""

import contextlib
import dataclasses
from pathlib import Path
from statistics import median

from benchmarks.speed.contest import Course
from benchmarks.speed.plan import Plan
from benchmarks.speed.turns import Worker

# Each rung keeps what the rungs above it brought. (own_lanes.py puts the pieces in.)
RUNGS = {
    "plain form, padded": (),
    "no padding": ("packed",),
    "last block pruned": ("pruned",),
    "LoRA fused": ("lora",),
    "dropout by its gaps": ("dropout",),
    "GELU in one pass": ("gelu",),
}
FIRST, *_, LAST = RUNGS
BF16 = "bf16"  # a rung where it pays; a lane of its own, because its weights are its own


def pieces_up_to(rung: str) -> set[str]:
    names = list(RUNGS)
    return {piece for name in names[: names.index(rung) + 1] for piece in RUNGS[name]}


def parts_of_a_step(course: Course, plan: Plan, work: Path) -> dict[str, dict[str, float]]:
    """For the plain form and the fast form: part -> seconds, in one step on the batch in the middle."""
    path = work / "plan-parts.json"
    dataclasses.replace(plan, schedule=[]).save(path)
    with Worker("ladder", "fp32", path) as worker:
        rungs = {"plain form": FIRST, "fast form": LAST}
        rows = course.thinned(1).batches[0]
        return {name: worker.ask("parts", rung=rung, rows=rows) for name, rung in rungs.items()}


def climb_ladder(course: Course, bf16: bool, plan: Plan, work: Path) -> dict[str, list[float]]:
    """rung -> the median step time of each batch, in seconds. On each batch all rungs follow one another."""
    rungs = [*RUNGS, BF16] if bf16 else list(RUNGS)
    seconds: dict[str, list[list[float]]] = {rung: [[] for _ in course.batches] for rung in rungs}
    once = course.batches * course.repeats
    with contextlib.ExitStack() as stack:

        def start(kind: str, precision: str, schedule: list[list[int]]) -> Worker:
            path = work / f"plan-{kind}.json"
            dataclasses.replace(plan, schedule=schedule).save(path)
            return stack.enter_context(Worker(kind, precision, path))

        ladder = start("ladder", "fp32", [rows for rows in once for _ in RUNGS])
        ours = start("ours", "bf16", once) if bf16 else None
        for _ in range(course.repeats):
            for number in range(len(course.batches)):
                for rung in rungs:
                    answer = ours.ask("step") if ours and rung == BF16 else ladder.ask("step", rung=rung)
                    seconds[rung][number].append(answer["seconds"])
    return {rung: [median(repeats) for repeats in batches] for rung, batches in seconds.items()}

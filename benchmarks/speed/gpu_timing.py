"""Time the lanes against each other, one step each in turn, with the GPU's queue empty on both sides of the clock.

    python benchmarks/speed/gpu_timing.py --what messages  batches of 32, at random and grouped by length
    python benchmarks/speed/gpu_timing.py --what long      16 x 512 and 8 x 1024 random tokens, full and of mixed length

First all take three steps without dropout, on the same weights: their losses say whether they compute the same. It
ends by itself when its seconds are used up, with what it has.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.speed.gpu_stage import Findings, StageConfig  # noqa: E402  before torch: its clock counts that import

# isort: split

import torch  # noqa: E402

import data  # noqa: E402
from benchmarks.speed.contest import there_and_back  # noqa: E402
from benchmarks.speed.figures import quantile  # noqa: E402
from benchmarks.speed.gpu_lanes import (  # noqa: E402
    KINDS,
    Rows,
    build_lane,
    messages_file,
    messages_task,
    random_task,
    write_base,
)
from benchmarks.speed.workload import grouped_batches, random_batches  # noqa: E402
from training.errors import run_door  # noqa: E402
from training.settings import option, parse  # noqa: E402

AGREEING = 3  # steps without dropout
SHAPES = {"16 x 512": (16, 512), "8 x 1024": (8, 1024)}
WHAT = ("messages", "long")
NOTED = 5  # rounds between two notes


@dataclass(frozen=True)
class TimingConfig(StageConfig):
    what: str = option("messages", "which batches", group="stage", choices=WHAT)


@dataclass(frozen=True)
class Turn:
    """One step: who takes it, of which kind of batch, and the rows."""

    lane: str
    batches: str
    rows: Rows

    @property
    def name(self) -> str:
        return f"{self.lane}, {self.batches}"


def main(config: TimingConfig) -> None:
    found = Findings(config)
    base = write_base(Path(config.work).absolute(), config.tiny)
    make = messages_course if config.what == "messages" else long_course
    task, kinds, warm_up, timed = make(base, config.tiny)
    rounds = [turns_of(kinds, number) for number in range(warm_up + timed)]
    first = next(iter(kinds.values()))[0]
    lanes, steps = {}, {}
    for kind in KINDS:
        schedule = [first] * AGREEING + [turn.rows for turns in rounds for turn in turns if turn.lane == kind]
        lanes[kind], steps[kind] = build_lane(kind, base, task, schedule, config.device), 0
    about = {"base": str(base), "dataset": str(messages_file()) if config.what == "messages" else "random tokens"}
    found.note(about=about | {"precision": "bf16", "parameters": count(lanes["fast"].model)})

    def step(kind: str, rows: Rows) -> Any:
        loss = lanes[kind].step(steps[kind], rows)
        steps[kind] += 1
        return loss

    found.note(losses_without_dropout=losses_without_dropout(lanes, lambda kind: float(step(kind, first))))
    seconds: dict[str, list[float]] = {turn.name: [] for turn in rounds[0]}
    for number, turns in enumerate(rounds):
        if found.seconds_left < 2 * sum(map(median, filter(None, seconds.values()))):
            break
        for turn in turns:
            began = lanes[turn.lane].clock()
            step(turn.lane, turn.rows)
            ended = lanes[turn.lane].clock()
            if number >= warm_up:
                seconds[turn.name].append(ended - began)
        if number >= warm_up and number % NOTED == 0:
            found.note(steps=figures(seconds, rounds[warm_up:], task))
    found.note(steps=figures(seconds, rounds[warm_up:], task))
    found.note(ratios=ratios(seconds), headline=headline(ratios(seconds)), rounds=min(map(len, seconds.values())))
    print(found.values["headline"])


def messages_course(base: Path, tiny: bool) -> tuple[data.Task, dict[str, list[Rows]], int, int]:
    """(task, batches of each kind, rounds to warm up, rounds to time)"""
    task, size = messages_task(base, 200 if tiny else None), 8 if tiny else 32
    kinds = {"random": random_batches(task, size, 42), "grouped": grouped_batches(task, size, 42)}
    return task, kinds, *((2, 3) if tiny else (10, 40))


def long_course(base: Path, tiny: bool) -> tuple[data.Task, dict[str, list[Rows]], int, int]:
    lengths: list[int] = []
    kinds: dict[str, list[Rows]] = {}
    generator = torch.Generator().manual_seed(1)
    for name, (rows, length) in SHAPES.items():
        rows, length = (rows // 4, length // 16) if tiny else (rows, length)
        # A mixed batch has its longest row full, so that whoever pads computes the same positions.
        drawn = torch.randint(length // 8, length + 1, (rows - 1,), generator=generator).tolist()
        for what, new in (("full", [length] * rows), ("mixed", [length, *drawn])):
            kinds[f"{name} {what}"] = [list(range(len(lengths), len(lengths) + rows))]
            lengths += new
    return random_task(base, lengths), kinds, *((1, 2) if tiny else (5, 20))


def turns_of(kinds: dict[str, list[Rows]], number: int) -> list[Turn]:
    """Everybody's step of one round. Grouping is Trainer's; of ours, the fast form takes the same batches."""
    turns = []
    for batches, given in kinds.items():
        for kind in KINDS if batches != "grouped" else ("trainer", "fast"):
            turns.append(Turn(kind, batches, given[number % len(given)]))
    return list(there_and_back(turns, number))


def losses_without_dropout(lanes: dict[str, Any], step: Callable[[str], float]) -> dict[str, list[float]]:
    losses = {}
    for kind, lane in lanes.items():
        lane.draw()
        lane.dropout(on=False)
        losses[kind] = [step(kind) for _ in range(AGREEING)]
        lane.dropout(on=True)
    return losses


def figures(seconds: dict[str, list[float]], rounds: list[list[Turn]], task: data.Task) -> dict[str, dict[str, Any]]:
    """Of each lane on each kind of batch: seconds a step, and what it got through in them."""
    found = {}
    for name, taken in seconds.items():
        if not taken:
            continue
        rows = [turn.rows for turns in rounds[: len(taken)] for turn in turns if turn.name == name]
        total = sum(taken)
        found[name] = {
            "median": median(taken), "q1": quantile(taken, 0.25), "q3": quantile(taken, 0.75), "total": total,
            "rows_per_second": sum(map(len, rows)) / total, "tokens_per_second": sum(map(task.tokens, rows)) / total,
            "seconds": [round(s, 6) for s in taken],
        }  # fmt: skip
    return found


def ratios(seconds: dict[str, list[float]]) -> dict[str, float]:
    """Everybody's total time over that of the fast form on the same batches; above 1 where the fast form is faster."""
    found = {}
    for name, taken in seconds.items():
        lane, batches = name.split(", ")
        fast = seconds[f"fast, {batches}"]
        if lane != "fast" and taken and fast:
            n = min(len(taken), len(fast))
            found[name] = sum(taken[:n]) / sum(fast[:n])
    return found


def headline(found: dict[str, float]) -> str:
    return "fast is faster than " + "; ".join(f"{name}: {ratio:.2f}" for name, ratio in found.items())


def count(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


if __name__ == "__main__":
    words = {"prog": "benchmarks/speed/gpu_timing.py", "description": __doc__.split("\n\n")[0]}
    sys.exit(run_door(lambda: main(parse(TimingConfig, sys.argv[1:], **words))))

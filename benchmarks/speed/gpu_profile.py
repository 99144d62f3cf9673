"""Each lane alone: its peak memory, how fast it evaluates, and where one step's time goes.

    python benchmarks/speed/gpu_profile.py [--device cpu --tiny]

Memory is what torch's allocator held at most during the steps, above what it held before the lane was built: weights,
gradients, AdamW's state and activations; not the driver's own. On a CPU it is not measured.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.speed.gpu_stage import Findings, StageConfig  # noqa: E402  before torch: its clock counts that import

# isort: split

import torch  # noqa: E402

from benchmarks.speed.gpu_lanes import KINDS, build_lane, close_lane, messages_task, write_base  # noqa: E402
from benchmarks.speed.gpu_timing import long_course  # noqa: E402
from benchmarks.speed.workload import random_batches, spread  # noqa: E402
from training.errors import run_door  # noqa: E402
from training.settings import parse  # noqa: E402

ROOM = 3.0  # seconds that a lane's next part may take
BATCHES = 6  # of messages, spread by their longest row


def main(config: StageConfig) -> None:
    found = Findings(config)
    base = write_base(Path(config.work).absolute(), config.tiny)
    messages = messages_task(base, 200 if config.tiny else None)
    random = random_batches(messages, 8 if config.tiny else 32, 42)
    batches = spread(random, messages.ids, min(BATCHES, len(random)))
    scored = messages.split.test[: 16 if config.tiny else 512]
    lanes: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
    for kind in KINDS:
        schedule = batches + batches[len(batches) // 2 :][:1] * 3
        with_messages(lanes[kind], kind, base, messages, schedule, scored, config.device)
        found.note(lanes=lanes)
    task, kinds, *_ = long_course(base, config.tiny)
    for name in [name for name in kinds if name.endswith("full")]:
        for kind in KINDS:
            if found.seconds_left < ROOM:
                continue
            start = held_memory(config.device)
            lane = build_lane(kind, base, task, kinds[name] * 2, config.device)
            lanes[kind][f"peak_bytes, {name}"] = peak_of(lambda lane=lane, name=name: [
                lane.step(step, kinds[name][0]) for step in range(2)
            ], start, config.device)  # fmt: skip
            close_lane(lane)
            found.note(lanes=lanes)
    found.note(headline=headline(lanes))
    print(found.values["headline"])


def with_messages(found: dict[str, Any], kind: str, base: Path, task, schedule: list, scored: list, device: str):
    """Memory over the schedule but its last three steps, of which one is profiled; then evaluation, twice."""
    start = held_memory(device)
    lane = build_lane(kind, base, task, schedule, device)
    steps = iter(enumerate(schedule))
    take = lambda: lane.step(*next(steps))  # noqa: E731
    found["peak_bytes, messages"] = peak_of(lambda: [take() for _ in range(len(schedule) - 3)], start, device)
    found["profile"] = profiled(lane, take)
    if kind == "trainer":
        lane.end_training()
    lane.evaluate(scored)
    found["eval_rows_per_second"] = len(scored) / min(lane.evaluate(scored)["seconds"] for _ in range(2))
    close_lane(lane)


def held_memory(device: str) -> int:
    return torch.cuda.memory_allocated() if device == "cuda" else 0


def peak_of(work: Callable[[], object], start: int, device: str) -> int | None:
    """Bytes above `start`; None on a CPU."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    work()
    return torch.cuda.max_memory_allocated() - start if device == "cuda" else None


def profiled(lane: Any, step: Callable[[], object]) -> dict[str, Any]:
    """One step, after one to warm up and one without the profiler, which slows what it watches."""
    step()
    began = lane.clock()
    step()
    alone = lane.clock() - began
    lane.start_profile()
    step()
    return {"step_seconds": alone} | lane.end_profile()


def headline(lanes: dict[str, dict[str, Any]]) -> str:
    parts = []
    for kind, found in lanes.items():
        memory, one = found["peak_bytes, messages"], found["profile"]
        shown = "" if memory is None else f"{memory / 2**20:.0f} MiB, "
        step = f"{one['count']} kernels, busy {one['busy_seconds'] / one['step_seconds']:.0%} of a step"
        parts.append(f"{kind}: {shown}{found['eval_rows_per_second']:.0f} rows/s evaluated, {step}")
    return "; ".join(parts)


if __name__ == "__main__":
    words = {"prog": "benchmarks/speed/gpu_profile.py", "description": __doc__.split("\n\n")[0]}
    sys.exit(run_door(lambda: main(parse(StageConfig, sys.argv[1:], **words))))

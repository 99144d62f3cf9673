"""What more rows cost: seconds per real token, memory and start of this project's lane, from 500 rows to 50,000."""

import contextlib
import dataclasses
import json
import random
from pathlib import Path
from statistics import median

from benchmarks.speed.plan import Plan
from benchmarks.speed.turns import Worker
from benchmarks.speed.workload import Workload, prepare_workload, random_batches, spread

ROWS = (500, 5_000, 50_000)


def measure_growth(
    plan: Plan, workload: Workload, count: int, repeats: int, work: Path, sizes: tuple[int, ...] = ROWS
) -> dict[str, dict[str, float]]:
    """Rows are drawn from the dataset with replacement, so every size has texts of the same lengths."""
    counts = {}
    with contextlib.ExitStack() as stack:
        workers = {}
        for size in sizes:
            drawn = prepare_workload(workload.base, workload.about, write_rows(workload, size, plan.seed, work))
            batches = spread(random_batches(drawn.task, plan.batch_size, plan.seed), drawn.task.ids, count)
            counts[size] = [drawn.tokens(rows) for rows in batches]
            path = work / f"plan-{size}.json"
            grown = dataclasses.replace(plan, dataset=drawn.task.dataset.name, schedule=batches * repeats)
            grown.save(path)
            workers[size] = stack.enter_context(Worker("ours", "fp32", path))
        seconds = {size: [[] for _ in range(count)] for size in sizes}
        for _ in range(repeats):
            for number in range(count):
                for size, worker in workers.items():
                    seconds[size][number].append(worker.ask("step")["seconds"])
        return {
            str(size): {
                "seconds_per_real_token": sum(median(s) for s in seconds[size]) / sum(counts[size]),
                "peak_memory_bytes": worker.ask("sizes")["peak_memory"],
                "start_seconds": worker.start["ready"],
            }
            for size, worker in workers.items()
        }


def write_rows(workload: Workload, size: int, seed: int, work: Path) -> Path:
    dataset, path = workload.task.dataset, work / f"rows-{size}.jsonl"
    drawn = random.Random(seed).choices(range(len(dataset.texts)), k=size)
    lines = [{"label": dataset.label_names[dataset.labels[row]], "text": dataset.texts[row]} for row in drawn]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path

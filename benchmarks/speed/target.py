"""How long until a spam filter is good: the seconds of training until F1 on the validation rows reaches 0.95.

All lanes see the same rows in the same order with the same learning rates; they draw their own dropout masks and A.
Evaluating is not counted, starting is reported beside.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import data
from benchmarks.speed.plan import Plan
from benchmarks.speed.turns import Worker
from benchmarks.speed.workload import Workload, random_batches
from training.metrics import classification_metrics

F1, EVERY = 0.95, 5
EPOCHS, LEARNING_RATE = 5, 2e-3  # presets/tiny.toml's
SPLIT = {"kind": "stratified", "test_size": 0.2, "val_size": 0.1, "seed": 23}


def time_to_f1(kinds: Sequence[str], plan: Plan, workload: Workload, work: Path) -> dict[str, Any]:
    """kind of lane -> {"f1": best, "steps", "train_seconds", "start_seconds"}; a best F1 below 0.95: never."""
    dataset = workload.task.dataset
    task = dataclasses.replace(workload.task, split=data.split_rows(dataset, **SPLIT))
    schedule = [rows for epoch in range(EPOCHS) for rows in random_batches(task, plan.batch_size, plan.seed, epoch)]
    path = work / "plan-f1.json"
    dataclasses.replace(plan, schedule=schedule, split=SPLIT, learning_rate=LEARNING_RATE).save(path)
    results = {}
    for kind in kinds:
        with Worker(kind, "fp32", path) as worker:
            seconds, best, steps = 0.0, 0.0, 0
            while best < F1 and steps < len(schedule):
                seconds += worker.ask("step")["seconds"]
                steps += 1
                if steps % EVERY == 0 or steps == len(schedule):
                    best = max(best, f1_of(worker.ask("evaluate", rows=task.split.val)["predictions"], task))
            results[kind] = {"f1": best, "steps": steps, "train_seconds": seconds}
            results[kind]["start_seconds"] = worker.start["ready"]
    return results


def f1_of(predictions: list[int], task: data.Task) -> float:
    labels = torch.tensor(task.labels(task.split.val))
    logits = torch.nn.functional.one_hot(torch.tensor(predictions), len(task.dataset.label_names)).float()
    return classification_metrics(logits, labels)["f1"]

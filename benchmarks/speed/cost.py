"""What LoRA saves and what it does not: the head, LoRA and the whole model trained, predicted first, then measured.

    python benchmarks/speed/cost.py                  the bundled base
    python benchmarks/speed/cost.py --base random    random weights in the shape of GPT-2 of 124 M

The upper half of the table is counted before anything runs (ledger.py). For the lower half each way to train is a
process of its own, as `train.py --train head|lora|full` trains in fp32, and the three take the same steps in turn.
"""

import contextlib
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

import gpt2  # noqa: E402
from benchmarks.machine import DEVICES, describe_machine, pick_device  # noqa: E402
from benchmarks.speed.contest import there_and_back  # noqa: E402
from benchmarks.speed.ledger import Ledger  # noqa: E402
from benchmarks.speed.plan import Plan  # noqa: E402
from benchmarks.speed.table import columns  # noqa: E402
from benchmarks.speed.turns import Worker  # noqa: E402
from benchmarks.speed.workload import (  # noqa: E402
    SPLIT,
    prepare_base,
    prepare_workload,
    random_batches,
    spread,
)
from training.errors import UsageError, run_door  # noqa: E402
from training.settings import check_range, option, parse  # noqa: E402

WAYS = {"head": "head", "lora": "LoRA", "full": "full"}
ROWS = {
    "trained": ("trained weights", ",.0f", 1),
    "flop_per_token": ("GFLOP per token", ".4f", 1e9),
    "flop_of_full": ("of full fine-tuning's", ".2f", 1),
    "gradients": ("gradients, MB", ".2f", 1e6),
    "optimizer": ("AdamW's state, MB", ".2f", 1e6),
    "file": ("file to keep, MB", ".2f", 1e6),
    "held": ("weights, gradients, state, MB", ".1f", 1e6),
    "peak": ("peak memory above the start, MB", ".1f", 1e6),
    "step_seconds": ("seconds a step", ".3f", 1),
    "step_of_full": ("of full fine-tuning's", ".2f", 1),
}
LEARNING_RATE, SEED = 1e-4, 42  # small enough for all three; what is learned is not looked at
Half = dict[str, dict[str, float]]  # way to train -> key of ROWS -> number


# fmt: off
@dataclass(frozen=True)
class CostConfig:
    base: str = option("small", "bundled, or a random GPT-2 of 124 M", group="what", choices=("small", "random"))
    model: str | None = option(None, "a model directory instead", group="what")
    tokenizer: str | None = option(None, "vocab.json and merges.txt for the random base", group="what")
    dataset: str = option(str(ROOT / "data/messages/messages.tsv"), "file of labelled messages", group="what")
    batch_size: int = option(32, "rows per step", group="what")
    batches: int = option(4, "timed, spread over the epoch by longest row", group="how long")
    repeats: int = option(2, "of each batch", group="how long")
    threads: int | None = option(None, "of torch; default: torch's own choice", group="machine")
    device: str = option("cpu", "where all three train", group="machine", choices=DEVICES)
    json: str | None = option(None, "write all numbers to this file", group="output")

    # fmt: on
    def __post_init__(self) -> None:
        check_range(self, ("batch_size", "batches", "repeats", "threads"), 1)
        if self.model and self.base != "small":
            raise UsageError("--model and --base: give one of the two")
        if self.json and not Path(self.json).absolute().parent.is_dir():
            raise UsageError(f"--json {self.json}: there is no directory {Path(self.json).absolute().parent}")


def predict(ledger: Ledger) -> Half:
    """Bytes in fp32, FLOP per token. What the fast form leaves out of the arithmetic is counted as if it were done."""
    trained = {"head": ledger.trained - ledger.low_rank, "lora": ledger.trained, "full": ledger.whole}
    flop = {"head": 2 * ledger.matrices, "lora": ledger.lora_flop(), "full": ledger.full_flop()}
    return {
        way: {
            "trained": n,
            "flop_per_token": flop[way],
            "flop_of_full": flop[way] / flop["full"],
            "gradients": 4 * n,
            "optimizer": 8 * n,  # AdamW keeps two averages of every gradient
            "file": 4 * (n if way == "lora" else ledger.whole),  # --train head writes the whole model
            # LoRA holds A, B and a second head beside all that was there before.
            "held": 4 * (ledger.whole + (n if way == "lora" else 0)) + (4 + 8) * n,
        }
        for way, n in trained.items()
    }


def measure(plan: Plan, batches: list[list[int]], repeats: int, work: Path) -> Half:
    """Bytes and seconds; a step's seconds are the mean over the batches of the median over their repeats."""
    path = work / "plan.json"
    plan.save(path)
    seconds = {way: [[] for _ in batches] for way in WAYS}
    with contextlib.ExitStack() as stack:
        workers = {way: stack.enter_context(Worker(way, "fp32", path)) for way in WAYS}
        for worker in workers.values():
            worker.ask("step")  # not timed: AdamW's state and fresh memory are made in it
        for turn in range(repeats * len(batches)):
            for way in there_and_back(WAYS, turn):
                seconds[way][turn % len(batches)].append(workers[way].ask("step")["seconds"])
        sizes = {way: worker.ask("sizes") for way, worker in workers.items()}
    steps = {way: sum(map(median, by_batch)) / len(batches) for way, by_batch in seconds.items()}
    return {
        way: {name: sizes[way][name] for name in ("gradients", "optimizer", "file")}
        | {"peak": sizes[way]["peak_memory"] - sizes[way]["start_memory"]}
        | {"step_seconds": steps[way], "step_of_full": steps[way] / steps["full"]}
        for way in WAYS
    }


def table_of(predicted: Half, measured: Half) -> str:
    rows = []
    for name, half in (("predicted", predicted), ("", {}), ("measured", measured)):
        rows.append([name, *(WAYS[way] if half else "" for way in WAYS)])
        for key in half.get("full", ()):
            what, form, unit = ROWS[key]
            rows.append([what, *(format(half[way][key] / unit, form) for way in WAYS)])
    return columns(rows)


def main(config: CostConfig) -> dict[str, Any]:
    """Print both halves; returns what `--json` writes."""
    threads, device = config.threads or torch.get_num_threads(), pick_device(config.device)
    report = {"machine": describe_machine(threads, device), "torch": torch.__version__}
    with tempfile.TemporaryDirectory(prefix="cost-") as name:
        base, about = prepare_base(Path(name), config.base, config.model, config.tokenizer)
        shape, work = gpt2.read_config(base), prepare_workload(base, about, Path(config.dataset))
        epoch = random_batches(work.task, config.batch_size, SEED)
        batches = spread(epoch, work.task.ids, config.batches)
        tokens = [work.tokens(rows) for rows in batches]
        print(f"{about}; {config.batch_size} rows a step, {min(tokens):,} to {max(tokens):,} tokens\n", flush=True)
        plan = Plan(
            model=str(base), dataset=work.task.dataset.name, split=SPLIT, max_length=shape.n_positions,
            batch_size=config.batch_size, schedule=[batches[-1], *batches * config.repeats],
            learning_rate=LEARNING_RATE, seed=SEED, threads=threads, device=device,
        )  # fmt: skip
        predicted = predict(Ledger.of(shape))
        measured = measure(plan, batches, config.repeats, Path(name))
    print(table_of(predicted, measured))
    report |= {"base": about, "tokens": tokens, "predicted": predicted, "measured": measured}
    if config.json:
        Path(config.json).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report


if __name__ == "__main__":
    words = {"prog": "benchmarks/speed/cost.py", "description": __doc__}
    sys.exit(run_door(lambda: main(parse(CostConfig, sys.argv[1:], **words))))

"""How fast, and how lean: this project against transformers + peft + Trainer, on the same rows, in turn.

    trainer       the notebook's recipe as it stands: random batches, padded to their longest row, fp32 (a GPU: bf16)
    grouped       the best Trainer offers: rows of similar length together; bf16 too where this CPU gains by it
    peft_layers   peft's LoRA layers in this project's loop, without padding too: what the LoRA layers alone cost
    ours          this project, as train.py runs

Every lane is a process of its own and computes only when its turn comes. First all train a few steps without dropout
and must find the same losses. A ratio is total time over total time, on batches spread evenly over the epoch's.
"""

import hashlib
import importlib.util
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from benchmarks.machine import DEVICES, describe_machine, pick_device, versions  # noqa: E402
from benchmarks.speed.contest import (  # noqa: E402
    TOLERANCE,
    Course,
    Entry,
    Result,
    hold_contest,
    loss_differences,
    losses_agree,
    predictions_differ,
    time_starts,
)
from benchmarks.speed.figures import (  # noqa: E402
    all_ratios,
    lane_figures,
    ratio_spread,
    train_pairs,
)
from benchmarks.speed.growth import measure_growth  # noqa: E402
from benchmarks.speed.ladder import climb_ladder, parts_of_a_step  # noqa: E402
from benchmarks.speed.matrices import bf16_pays  # noqa: E402
from benchmarks.speed.plan import Plan  # noqa: E402
from benchmarks.speed.table import check_plot, draw_bars, table_of  # noqa: E402
from benchmarks.speed.target import time_to_f1  # noqa: E402
from benchmarks.speed.workload import (  # noqa: E402
    SPLIT,
    Workload,
    grouped_batches,
    prepare_base,
    prepare_workload,
    random_batches,
    spread,
)
from training.errors import UsageError, run_door  # noqa: E402
from training.settings import check_range, option, parse  # noqa: E402

EXAMPLES = """examples:
  python benchmarks/speed/compare.py --quick                      a random GPT-2 of 124 M parameters, bundled messages
  python benchmarks/speed/compare.py --tokenizer DIR --dataset SMSSpamCollection --json result.json
  python benchmarks/speed/compare.py --base small --time_to_f1    the bundled base"""


# The notebook's. A larger one makes AdamW's first steps, which follow the sign of a gradient, tell apart two roundings
# of a gradient near zero; with this one the losses of three steps agree to 1e-6 and still show a wrong gradient.
LEARNING_RATE = 2e-5
BASES, SWITCH = ("random", "small"), ("auto", "yes", "no")


# fmt: off
@dataclass(frozen=True)
class CompareConfig:
    base: str = option("random", "a random GPT-2 of 124 M, or the bundled base", group="what", choices=BASES)
    model: str | None = option(None, "a model directory instead", group="what")
    tokenizer: str | None = option(None, "vocab.json and merges.txt for the random base", group="what")
    dataset: str = option(str(ROOT / "data/messages/messages.tsv"), "file of labelled messages", group="what")
    batch_size: int = option(32, "rows per step", group="what")
    seed: int = option(42, "order of rows, dropout, A", group="what")
    quick: bool = option(False, "3 repeats, 3 grouped batches, 1 on the ladder", group="how long")
    repeats: int | None = option(None, "of each batch; default 5, or 3 with --quick", group="how long")
    batches: int = option(6, "timed, spread over the epoch by longest row", group="how long")
    eval_rows: int | None = option(None, "evaluated; default 128, or 32 with --quick", group="how long")
    ladder: bool = option(True, "this project's gains one at a time", group="how long")
    parts: bool = option(False, "where the time of a step goes, by torch's profiler", group="how long")
    growth: bool = option(False, "cost per token and memory from 500 to 50,000 rows", group="how long")
    time_to_f1: bool = option(False, "training until F1 is 0.95; for a pretrained base", group="how long")
    threads: int | None = option(None, "of torch in every lane; default: torch's own choice", group="machine")
    device: str = option("cpu", "of all lanes", group="machine", choices=DEVICES)
    bf16: str = option("auto", "lanes in bf16: where this machine gains", group="machine", choices=SWITCH)
    json: str | None = option(None, "write all numbers to this file", group="output")
    plot: str | None = option(None, "draw a bar chart into this .png, .svg or .pdf", group="output")

    # fmt: on
    def __post_init__(self) -> None:
        check_range(self, ("repeats", "batch_size", "eval_rows", "threads"), 1)
        check_range(self, ("batches",), 3)
        if self.model and self.base != "random":
            raise UsageError("--model and --base: give one of the two")
        for flag in ("json", "plot"):
            path = getattr(self, flag)
            if path and not Path(path).absolute().parent.is_dir():
                raise UsageError(f"--{flag} {path}: there is no directory {Path(path).absolute().parent}")
        missing = [name for name in ("transformers", "peft", "accelerate") if not importlib.util.find_spec(name)]
        if missing:
            raise UsageError(f"compares with {', '.join(missing)}: pip install -r requirements-dev.txt")
        if self.plot:
            check_plot(self.plot)

    @property
    def times(self) -> int:
        """Each batch is timed so often."""
        return self.repeats or (3 if self.quick else 5)

    @property
    def rows_to_score(self) -> int:
        return self.eval_rows or (32 if self.quick else 128)


def main(config: CompareConfig) -> dict[str, Any]:
    """The whole comparison; returns what `--json` writes."""
    say = Clock()
    device = pick_device(config.device)
    threads = config.threads or torch.get_num_threads()
    torch.set_num_threads(threads)
    report: dict[str, Any] = {"machine": describe_machine(threads, device), "versions": versions()}
    # 1. Does bf16 pay on this machine?
    bf16, report["bf16"] = bf16_pays(device=device)
    if config.bf16 != "auto":
        bf16 = config.bf16 == "yes"
        report["bf16"] += f"; --bf16 {config.bf16}"
    say(report["bf16"])
    with tempfile.TemporaryDirectory(prefix="compare-") as name:
        work = Path(name)
        # 2. The base, the rows, and two courses of batches: drawn at random, and grouped by length.
        base, about = prepare_base(work, config.base, config.model, config.tokenizer)
        workload = prepare_workload(base, about, Path(config.dataset))
        task = workload.task
        plan = Plan(
            model=str(base.absolute()), dataset=task.dataset.name, split=SPLIT, max_length=task.max_length,
            batch_size=config.batch_size, schedule=[], learning_rate=LEARNING_RATE, seed=config.seed, threads=threads,
            device=device,
        )  # fmt: skip
        courses = {
            "random": course_of(random_batches, config, workload, eval_rows=task.split.test[: config.rows_to_score]),
            "grouped": course_of(grouped_batches, config, workload, eval_rows=[]),
        }
        if config.quick:
            courses["grouped"] = courses["grouped"].thinned(3)
        report["workload"] = describe_workload(config, workload, courses)
        say(f"{about}; {config.dataset}: {len(task.ids):,} rows")
        # 3. The lanes in turn.
        results = {}
        for kind, entries in entries_of(bf16, device).items():
            results[kind] = hold_contest(entries, courses[kind], plan, work)
            say(f"the lanes on {kind} batches: {', '.join(entries)}")
        add_losses(report, results, device)
        if not report["losses_agree"]:
            return report
        time_starts(results["random"], ("trainer", "ours"), work / "plan.json", config.times // 2)
        say("the start of trainer and ours")
        add_figures(report, results, courses, workload)
        # 4. What is asked for besides.
        if config.ladder:
            report["ladder"] = climb_ladder(courses["random"].thinned(1 if config.quick else 3), bf16, plan, work)
            say("the ladder")
        if config.parts:
            report["parts"] = parts_of_a_step(courses["random"], plan, work)
            say("the parts of a step")
        if config.time_to_f1:
            report["time_to_f1"] = time_to_f1(("trainer", "ours"), plan, workload, work)
            say("time to F1")
        if config.growth:
            report["growth"] = measure_growth(plan, workload, config.batches, config.times, work)
            say("growth")
    return report


def course_of(draw: Callable, config: CompareConfig, workload: Workload, eval_rows: list[int]) -> Course:
    batches = spread(draw(workload.task, config.batch_size, config.seed), workload.task.ids, config.batches)
    return Course(batches, [workload.tokens(rows) for rows in batches], config.times, eval_rows)


def entries_of(bf16: bool, device: str) -> dict[str, dict[str, Entry]]:
    """The lanes of each course. What the notebook does on a CPU is fp32, so `trainer` stays so there.

    Whoever has a GPU that multiplies bf16 tells Trainer so; there `trainer_fp32` is beside it, for the lanes in fp32.
    """
    random = {"trainer": Entry("trainer"), "peft_layers": Entry("peft_layers"), "ours": Entry("ours")}
    grouped = {"grouped": Entry("trainer"), "ours_on_grouped": Entry("ours")}
    if bf16 and device == "cuda":
        random = random | {"trainer": Entry("trainer", "bf16"), "trainer_fp32": Entry("trainer")}
    if bf16:
        random["ours_bf16"] = Entry("ours", "bf16")
        grouped |= {"grouped_bf16": Entry("trainer", "bf16"), "ours_on_grouped_bf16": Entry("ours", "bf16")}
    return {"random": random, "grouped": grouped}


def describe_workload(config: CompareConfig, workload: Workload, courses: dict[str, Course]) -> dict[str, Any]:
    about: dict[str, Any] = {"base": workload.about, "base_sha256": sha256(workload.base / "model.safetensors")}
    about |= {"dataset": config.dataset, "dataset_sha256": sha256(Path(config.dataset)), "split": SPLIT}
    about |= {"rows": len(workload.task.ids), "eval_rows": config.rows_to_score, "batch_size": config.batch_size}
    about |= {"repeats": config.times, "seed": config.seed}
    for kind, course in courses.items():
        longest = [max(workload.lengths(rows)) for rows in course.batches]
        about[f"{kind}_batches"] = [{"tokens": n, "longest": t} for n, t in zip(course.tokens, longest)]
    return about


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def add_losses(report: dict[str, Any], results: dict[str, dict[str, Result]], device: str) -> None:
    report["losses_agree"] = all(losses_agree(entries, device) for entries in results.values())
    report["loss_differences"] = {k: v for entries in results.values() for k, v in loss_differences(entries).items()}
    report["lanes"], report["ratios"] = {}, {}


def add_figures(report: dict[str, Any], results, courses: dict[str, Course], workload: Workload) -> None:
    for kind, entries in results.items():
        report["lanes"] |= {name: lane_figures(r, courses[kind], workload) for name, r in entries.items()}
    report["ratios"] = all_ratios(*results.values(), report["lanes"])
    report["ratios_by_step"] = {name: ratio_spread(*pair) for name, pair in train_pairs(*results.values()).items()}
    report["predictions_differ"] = predictions_differ(results["random"])


class Clock:
    """Says what was done, and when."""

    def __init__(self):
        self.began = time.perf_counter()

    def __call__(self, what: str) -> None:
        print(f"[{time.perf_counter() - self.began:6.1f} s] {what}", flush=True)


def run(argv: list[str]) -> None:
    config = parse(CompareConfig, argv, prog="benchmarks/speed/compare.py", description=__doc__, epilog=EXAMPLES)
    report = main(config)
    if config.json:
        Path(config.json).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    apart = ", ".join(f"{name} {difference:.1e}" for name, difference in report["loss_differences"].items())
    print(f"losses without dropout, apart from the first lane's: {apart}")
    if not report["losses_agree"]:
        tolerance = TOLERANCE[pick_device(config.device)]
        raise DisagreementError(f"losses more than {tolerance} apart: not the same computation, so nothing was timed")
    apart = ", ".join(f"{name} {rows}" for name, rows in report["predictions_differ"].items())
    print(f"rows predicted otherwise than by the first lane, with the same weights: {apart}")
    print(f"\n{table_of(report)}")
    if config.plot:
        draw_bars(report, config.plot)


class DisagreementError(ValueError):
    exit_code = 1


if __name__ == "__main__":
    sys.exit(run_door(lambda: run(sys.argv[1:])))

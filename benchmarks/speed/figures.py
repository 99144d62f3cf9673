"""From seconds to the numbers that are reported: per lane, and the ratios between lanes."""

from collections.abc import Container, Sequence
from statistics import median
from typing import Any

from benchmarks.speed.contest import Course, Result
from benchmarks.speed.workload import Workload

QUANTILES = {"q1": 0.25, "q3": 0.75, "p95": 0.95}
PADDED = ("trainer", "plain")  # kinds of lane that compute the padding of a batch


Pair = tuple[Result | None, Result | None]  # theirs and ours; None where a lane did not run


def quantile(values: Sequence[float], q: float) -> float:
    """Between neighbours in proportion, as numpy.quantile's default."""
    ordered = sorted(values)
    at = q * (len(ordered) - 1)
    low = int(at)
    return ordered[low] + (at - low) * (ordered[min(low + 1, len(ordered) - 1)] - ordered[low])


def lane_figures(result: Result, course: Course, workload: Workload) -> dict[str, Any]:
    steps = [seconds for repeats in result.seconds for seconds in repeats]
    total, tokens = sum(result.step_medians), sum(course.tokens)
    computed = sum(workload.padded(rows) for rows in course.batches) if result.entry.kind in PADDED else tokens
    figures = {
        "precision": result.entry.precision,
        "step_seconds": {"median": median(steps)} | {k: quantile(steps, q) for k, q in QUANTILES.items()},
        "total_seconds": total,  # one step of each batch: medians over the repeats
        "samples_per_second": sum(len(rows) for rows in course.batches) / total,
        "real_tokens_per_second": tokens / total,
        "computed_tokens_per_second": computed / total,
        "padding_share": 1 - tokens / computed,
        "peak_memory_bytes": result.sizes["peak_memory"],
        "optimizer_bytes": result.sizes["optimizer"],
        "adapter_bytes": result.sizes["adapter"],
        "import_seconds": median(start["import"] for start in result.start),
        "start_seconds": median(start["ready"] for start in result.start),
        "seconds_by_batch": result.seconds,
    }  # fmt: skip
    if result.eval_seconds:
        figures["eval_samples_per_second"] = len(course.eval_rows) / median(result.eval_seconds)
        figures["eval_seconds"] = result.eval_seconds
    if any(result.products):
        seconds = [median(p["seconds"] for p in products) for products in result.products]
        figures["torch_mm_flop_per_second"] = sum(p[0]["flop"] for p in result.products) / sum(seconds)
        figures["gemm_share"] = sum(seconds) / total
    return figures


def total_ratio(theirs: Result | None, ours: Result | None) -> float | None:
    """Total time over the same batches."""
    return theirs and ours and sum(theirs.step_medians) / sum(ours.step_medians)


def ratio_spread(theirs: Result | None, ours: Result | None) -> dict[str, float] | None:
    """The ratio step by step, over batches and repeats: its median and quartiles."""
    if not theirs or not ours:
        return None
    pairs = [zip(a, b) for a, b in zip(theirs.seconds, ours.seconds)]
    ratios = [a / b for batch in pairs for a, b in batch]
    return {"median": median(ratios), "q1": quantile(ratios, 0.25), "q3": quantile(ratios, 0.75)}


def train_pairs(random: dict[str, Result], grouped: dict[str, Result]) -> dict[str, Pair]:
    """What is set against what, in training."""
    return {
        "train_fp32": (random[trainer_in_fp32(random)], random["ours"]),
        "train_bf16": (random["trainer"], random.get("ours_bf16")),
        "against_grouped": (grouped["grouped"], grouped["ours_on_grouped"]),
        "against_grouped_bf16": (grouped.get("grouped_bf16"), grouped.get("ours_on_grouped_bf16")),
        "against_peft_layers": (random["peft_layers"], random["ours"]),
    }


def trainer_in_fp32(lanes: Container[str]) -> str:
    """On a GPU `trainer` computes in bf16."""
    return "trainer_fp32" if "trainer_fp32" in lanes else "trainer"


def all_ratios(random: dict[str, Result], grouped: dict[str, Result], lanes: dict[str, Any]) -> dict[str, float | None]:
    """Each is above 1 where this project is better, but for `gemm_share_fp32`, which is a share."""
    ratios = {name: total_ratio(*pair) for name, pair in train_pairs(random, grouped).items()}

    def divide(key: str, above: str, below: str) -> float | None:
        a, b = (lanes.get(name, {}).get(key) for name in (above, below))
        return a / b if a and b else None

    fp32 = trainer_in_fp32(lanes)
    ratios["memory"] = divide("peak_memory_bytes", fp32, "ours")
    ratios["memory_bf16"] = divide("peak_memory_bytes", "trainer", "ours_bf16")
    ratios["eval_fp32"] = divide("eval_samples_per_second", "ours", fp32)
    ratios["eval_bf16"] = divide("eval_samples_per_second", "ours_bf16", "trainer")
    ratios["start"] = divide("start_seconds", "trainer", "ours")
    ratios["gemm_share_fp32"] = lanes["ours"]["gemm_share"]
    return ratios

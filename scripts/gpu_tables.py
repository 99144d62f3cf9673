"""Tables of what scripts/gpu_report.py measured on a GPU; by default of the report behind docs/performance.md.

    python scripts/gpu_tables.py
    python scripts/gpu_tables.py DIR/summary.json

Steps are milliseconds, median and quartiles. Ratios are total time over that of the fast form on the same batches,
above 1 where the fast form is faster. What memory.py predicts of full rows stands under what was measured.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.speed.memory import SIZES, Training  # noqa: E402
from benchmarks.speed.table import columns  # noqa: E402
from training.errors import UsageError, run_door  # noqa: E402
from training.settings import option, parse  # noqa: E402

H200 = ROOT / "docs" / "measured" / "h200.json"
LANES = ("trainer", "peft_layers", "plain", "fast")
FULL = {"16 x 512 full": (16, 512), "8 x 1024 full": (8, 1024)}


@dataclass(frozen=True)
class TablesConfig:
    summary: tuple[str, ...] = option((str(H200),), "a report's summary.json", group="what", positional=True)

    def __post_init__(self) -> None:
        if len(self.summary) != 1 or not Path(self.summary[0]).is_file():
            raise UsageError(f"{' '.join(self.summary)}: give one file, a report's summary.json")


def tables(summary: dict[str, Any]) -> str:
    found = {name: did.get("measured") for s in summary["stages"].values() for name, did in s["commands"].items()}
    steps, ratios = ({**found["messages"][what], **found["long"][what]} for what in ("steps", "ratios"))
    parts = [
        equality(found),
        by_batches("ms a step", steps, of_step),
        by_batches("fast is faster", ratios, "{:.2f}".format),
    ]
    parts += [alone(found["memory"]["lanes"]), whole_runs(summary["stages"]["6 train.py"]["commands"])]
    return "\n\n".join([*parts, *pretraining(summary["stages"])])


def equality(found: dict[str, Any]) -> str:
    rows = [["against Trainer, fp32", "numbers", "largest difference"]]
    for one in found["equivalence"]["comparisons"]:
        rows.append([one["name"].split(": ")[-1], f"{one['size']:,}", f"{one['max_abs_diff']:.1e}"])
    distances = [["gradients from fp32's", "distance", "times peft's"]]
    for precision, forms in found["rule E"]["distances"].items():
        for form, distance in forms.items():
            times = f"{distance / forms['peft']:.2f}" if forms["peft"] else ""
            distances.append([f"{form}, {precision}", f"{distance:.2e}", times])
    return columns(rows) + "\n\n" + columns(distances)


def by_batches(head: str, values: dict[str, Any], shown: Any) -> str:
    """A line for each kind of batch, a column for each lane."""
    batches = list(dict.fromkeys(name.split(", ")[1] for name in values))
    lanes = [lane for lane in LANES if any(name.startswith(f"{lane}, ") for name in values)]
    rows = [
        [name, *(shown(values[key]) if (key := f"{lane}, {name}") in values else "" for lane in lanes)]
        for name in batches
    ]
    return columns([[head, *lanes], *rows])


def of_step(step: dict[str, float]) -> str:
    median, q1, q3 = (f"{step[key] * 1e3:.0f}" for key in ("median", "q1", "q3"))
    return f"{median} ({q1}-{q3})"


def alone(lanes: dict[str, Any]) -> str:
    """What each lane takes and does where no other is there."""
    found = [lanes[lane] for lane in LANES]
    rows = [["each lane alone", *LANES]]
    rows.append(["messages, peak MiB", *(f"{lane['peak_bytes, messages'] / 2**20:,.0f}" for lane in found)])
    for name in FULL:
        rows.append([f"{name}, peak GB", *(f"{lane[f'peak_bytes, {name}'] / 1e9:.2f}" for lane in found)])
        rows.append(["    predicted GB", "", "", *(f"{predicted(form, name) / 1e9:.2f}" for form in LANES[2:])])
    profiles = [lane["profile"] for lane in found]
    rows.append(["kernels a step", *(f"{one['count']:,}" for one in profiles)])
    rows.append(["kernels busy", *(f"{one['busy_seconds'] / one['step_seconds']:.0%}" for one in profiles)])
    rows.append(["one batch again, ms a step", *(f"{one['step_seconds'] * 1e3:.0f}" for one in profiles)])
    rows.append(["evaluated, rows/s", *(f"{lane['eval_rows_per_second']:,.0f}" for lane in found)])
    return columns(rows)


def predicted(form: str, name: str) -> float:
    """Bytes at the peak, of one of FULL."""
    return Training(SIZES["124M"], *FULL[name], "lora", "bf16", form).parts()["peak"]


def whole_runs(commands: dict[str, Any]) -> str:
    rows = [["python train.py", "seconds in all", "of training", "accuracy"]]
    for name, did in commands.items():
        got = did["measured"]
        rows.append([name, f"{did['seconds']:.0f}", f"{got['train_seconds']:.1f}", f"{got['after']['accuracy']:.2%}"])
    return columns(rows)


def pretraining(stages: dict[str, Any]) -> list[str]:
    """Of each pretraining what it printed of its speed."""
    runs = [(name, did) for stage in stages.values() for name, did in stage["commands"].items() if "pretrain" in name]
    speed = [
        (name, [line for line in did["last_lines"] if "steps of" in line or "tokens/s" in line]) for name, did in runs
    ]
    return ["\n".join([name, *lines]) for name, lines in speed]


def main(config: TablesConfig) -> None:
    try:
        print(tables(json.loads(Path(config.summary[0]).read_text(encoding="utf-8"))))
    except KeyError as missing:
        raise UsageError(f"{config.summary[0]}: has no {missing}; the tables are of a whole report") from None


if __name__ == "__main__":
    words = {"prog": "scripts/gpu_tables.py", "description": __doc__}
    sys.exit(run_door(lambda: main(parse(TablesConfig, sys.argv[1:], **words))))

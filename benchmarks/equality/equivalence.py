"""Is this project's training the same as transformers + peft + Trainer, to the bit? One command, one table.

    python benchmarks/equality/equivalence.py                all comparisons on this CPU; exit code 1 if one fails
    python benchmarks/equality/equivalence.py --json FILE --plot FILE
    python benchmarks/equality/equivalence.py --gpt2_size    also two steps at the shape of the 124 M model
    python benchmarks/equality/equivalence.py --device cuda  the training runs on a GPU, to a tolerance

"Bitwise" means equal names, dtypes and bits; it is expected of a CPU, in float32 and in half precision, with every
dropout on, of the plain classes and of `train.py --exact`. It is not meant of the fast form, which train.py uses by
default: that is equal to rounding with dropout off and draws other masks with it on. docs/equivalence.md has the rest.
"""

import argparse
import contextlib
import dataclasses
import importlib.metadata
import importlib.util
import io
import json
import os
import platform
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts; without it cuBLAS may vary

import torch  # noqa: E402
import transformers as hf  # noqa: E402

from benchmarks.equality import comparisons, side_by_side  # noqa: E402
from benchmarks.equality.comparisons import Comparison  # noqa: E402
from benchmarks.equality.details import Detail, details, ulps  # noqa: E402
from benchmarks.machine import DEVICES, pick_device  # noqa: E402
from training.errors import UsageError  # noqa: E402

LIBRARIES = ("torch", "transformers", "peft", "accelerate", "tokenizers", "safetensors")
SEEDS = {"base": 0, "batches": 1, "rows": 2, "adapters": 5, "fresh head": 6, "dropout in a step": 9, "runs": [42, 3]}
SHOWN = ("nothing", "LoRA added to the weight", "attention spelled out", "AdamW without fused=True")  # in the picture
Item = TypeVar("Item")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw both loss curves there (needs matplotlib)")
    parser.add_argument("--gpt2_size", action="store_true", help="also at the shape of the 124 M model: 2 GB, a minute")
    parser.add_argument("--device", default="cpu", choices=DEVICES)
    parser.add_argument("--threads", type=int, default=1, help="of the CPU (default 1: the shapes are small)")
    options = parser.parse_args()
    if options.plot and importlib.util.find_spec("matplotlib") is None:
        print("error: --plot needs matplotlib: pip install -r requirements-extras.txt", file=sys.stderr)
        return 2
    try:
        options.device = pick_device(options.device)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    prepare(options.threads)
    machine = describe_machine(options.device)
    print(*(f"{name}: {value}" for name, value in machine.items()), sep="\n")
    with tempfile.TemporaryDirectory() as work:
        found = show_comparisons(Path(work), options)
        costs = show_details(Path(work) / "details") if options.device == "cpu" else []
        if options.plot:
            draw(options.plot, Path(work) / "plot")
    failed = [c for c in found if not c.ok]
    bitwise = sum(c.bitwise for c in found)
    print(
        f"\n{len(found)} comparisons: {bitwise} bitwise, {len(found) - bitwise - len(failed)} within their bound, ",
        end="",
    )
    print(f"{len(failed)} FAILED: {', '.join(c.name for c in failed)}" if failed else "none failed")
    if options.json:
        options.json.write_text(json.dumps(as_json(found, costs, machine), indent=2) + "\n", encoding="utf-8")
    return int(bool(failed))


def prepare(threads: int) -> None:
    """No word from the reference libraries, and the settings under which a GPU repeats itself."""
    warnings.simplefilter("ignore")
    hf.logging.set_verbosity_error()
    hf.logging.disable_progress_bar()
    torch.set_num_threads(threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.use_deterministic_algorithms(True)


def describe_machine(device: str) -> dict[str, Any]:
    versions = {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in LIBRARIES}
    gpu = {"gpu": torch.cuda.get_device_name()} if device == "cuda" else {}
    cpu = {
        "cpu": cpu_name(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }
    return cpu | gpu | {"versions": versions, "seeds": SEEDS}


def cpu_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def show_comparisons(work: Path, options: argparse.Namespace) -> list[Comparison]:
    groups = [*comparisons.GROUPS, *comparisons.RUNS, *[comparisons.at_the_size_of_gpt2] * options.gpt2_size]
    if options.device == "cuda":
        groups = [comparisons.whole_runs_on_cuda]
    print(f"\n{'compared with transformers + peft + Trainer':<84}{'numbers':>10}{'largest difference':>20}  verdict")
    found = []
    for group in groups:
        for comparison in quietly(group(work / group.__name__)):
            found.append(comparison)
            verdict = "bitwise" if comparison.bitwise else f"bound {comparison.bound:.0e}: {comparison.why}"
            print(f"{comparison.name:<84}{comparison.size:>10,}{comparison.max_abs_diff:>20.3g}  ", end="")
            print(verdict if comparison.ok else f"FAILED, {verdict}", flush=True)
    return found


def show_details(work: Path) -> list[Detail]:
    """The price of one other spelling, in the run of benchmarks/equality/details.py."""
    print(
        "\none thing spelled differently, the run otherwise as it is: units in the last place (ulp) of the float32 loss"
    )
    print(f"{'':<40}{'first step':>12}{'largest':>12}{'trained tensors':>18}")
    found = []
    for detail, _ in quietly(details(work)):
        found.append(detail)
        print(
            f"{detail.name:<40}{detail.first_ulps:>12,}{detail.most_ulps:>12,}{detail.max_abs_diff:>18.2g}", flush=True
        )
    return found


def quietly(items: Iterator[Item]) -> Iterator[Item]:
    """The items, without what is printed while they are made."""
    while True:
        with contextlib.redirect_stdout(io.StringIO()):
            try:
                item = next(items)
            except StopIteration:
                return
        yield item


def draw(path: Path, work: Path) -> None:
    """Both loss curves of a longer run, and below them how many ulps lie between them: beside them, other spellings."""
    from matplotlib.figure import Figure

    base, task = side_by_side.write_base(work), side_by_side.random_task(side_by_side.SMALL, 23)
    config = dataclasses.replace(comparisons.EXACT, num_train_epochs=12, learning_rate=3e-3)
    with contextlib.redirect_stdout(io.StringIO()):
        theirs, ours = side_by_side.train_theirs(base, task, config), side_by_side.train_ours(base, task, config)
        others = {d.name: run.losses for d, run in details(work / "details", SHOWN, epochs=12)}
    figure = Figure(figsize=(8, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    steps = range(1, len(ours.losses) + 1)
    above.plot(steps, theirs.losses, linewidth=5, alpha=0.35, label="transformers + peft + Trainer")
    above.plot(steps, ours.losses, linewidth=1.2, color="black", label="train.py --exact")
    above.set_ylabel("training loss, nats")
    above.legend()
    distance = [abs(d) for d in ulps(theirs.losses, ours.losses)]
    below.plot(
        steps, distance, color="black", label="train.py --exact: all 0" if not any(distance) else "train.py --exact"
    )
    for name in SHOWN[1:]:
        far = [abs(d) for d in ulps(others["nothing"], others[name])]
        below.plot(steps, far, linewidth=1, label=name)
        print(f"{name}: {max(far[:5]):,} ulp in the first 5 steps, {max(far[-10:]):,} in the last 10 of {len(far)}")
    below.set_yscale("symlog", linthresh=1)
    below.set_ylabel("distance, ulp")
    below.set_xlabel("optimizer step")
    below.legend(fontsize=8)
    figure.savefig(path, dpi=150)


def as_json(found: list[Comparison], costs: list[Detail], machine: dict[str, Any]) -> dict[str, Any]:
    fields = ("name", "size", "bitwise", "max_abs_diff", "bound", "ok", "why")
    rows = [{name: getattr(comparison, name) for name in fields} for comparison in found]
    return {"comparisons": rows, "details": [dataclasses.asdict(detail) for detail in costs], **machine}


if __name__ == "__main__":
    sys.exit(main())

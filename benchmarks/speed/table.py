"""The comparison on the screen, and as a bar chart."""

from pathlib import Path
from typing import Any

from training.errors import UsageError


def table_of(report: dict[str, Any]) -> str:
    """Two tables of the lanes, then the ratios, the ladder, and what else was asked for."""
    lanes = report["lanes"]
    speed = [["lane", "step s", "quartiles", "p95", "rows/s", "tokens/s", "computed/s", "padding", "eval rows/s"]]
    cost = [["lane", "peak MB", "optimizer MB", "trained MB", "import s", "start s", "torch.mm GFLOP/s", "share"]]
    for name, lane in lanes.items():
        step = lane["step_seconds"]
        speed.append([
            name, f"{step['median']:.3f}", f"{step['q1']:.3f}-{step['q3']:.3f}", f"{step['p95']:.3f}",
            f"{lane['samples_per_second']:.2f}", f"{lane['real_tokens_per_second']:.0f}",
            f"{lane['computed_tokens_per_second']:.0f}", f"{lane['padding_share']:.1%}",
            _shown(lane.get("eval_samples_per_second"), ".1f"),
        ])  # fmt: skip
        cost.append([
            name, *(f"{lane[key] / 1e6:.2f}" for key in ("peak_memory_bytes", "optimizer_bytes", "adapter_bytes")),
            f"{lane['import_seconds']:.2f}", f"{lane['start_seconds']:.2f}",
            _shown(lane.get("torch_mm_flop_per_second"), ".1f", 1e9), _shown(lane.get("gemm_share"), ".1%"),
        ])  # fmt: skip
    parts = [columns(speed), columns(cost), _ratios(report)]
    if report.get("ladder"):
        parts.append(_ladder(report["ladder"]))
    if report.get("parts"):
        parts.append(_parts(report["parts"]))
    if report.get("time_to_f1"):
        rows = [["time to F1 0.95", "best F1", "steps", "training s", "start s"]]
        for name, got in report["time_to_f1"].items():
            times = (f"{got['train_seconds']:.2f}", f"{got['start_seconds']:.2f}")
            rows.append([name, f"{got['f1']:.3f}", str(got["steps"]), *times])
        parts.append(columns(rows))
    if report.get("growth"):
        rows = [["rows", "us per real token", "peak MB", "start s"]]
        for size, got in report["growth"].items():
            token, peak = got["seconds_per_real_token"] * 1e6, got["peak_memory_bytes"] / 1e6
            rows.append([size, f"{token:.1f}", f"{peak:.1f}", f"{got['start_seconds']:.2f}"])
        parts.append(columns(rows))
    return "\n\n".join(parts)


def _ratios(report: dict[str, Any]) -> str:
    rows = [["better by", "total time", "step by step: median", "quartiles"]]
    for name, ratio in report["ratios"].items():
        spread = report["ratios_by_step"].get(name)
        steps = [f"{spread['median']:.2f}", f"{spread['q1']:.2f}-{spread['q3']:.2f}"] if spread else ["", ""]
        rows.append([name, _shown(ratio, ".2f"), *steps])
    return columns(rows)


def _ladder(ladder: dict[str, list[float]]) -> str:
    rows, first, before = [["ladder", "seconds", "against the rung above", "in all"]], None, None
    for name, seconds in ladder.items():
        total = sum(seconds)
        first, before = first or total, before or total
        rows.append([name, f"{total:.3f}", f"{before / total:.2f}", f"{first / total:.2f}"])
        before = total
    return columns(rows)


def _parts(profiles: dict[str, dict[str, float]]) -> str:
    rows = [["where a step's time goes", *(cell for rung in profiles for cell in (rung, ""))]]
    for part in dict.fromkeys(part for profile in profiles.values() for part in profile):
        cells = [(profile.get(part, 0.0), sum(profile.values())) for profile in profiles.values()]
        rows.append([part, *(cell for s, whole in cells for cell in (f"{s * 1e3:.1f} ms", f"{s / whole:.1%}"))])
    return columns(rows)


def _shown(value: float | None, form: str, unit: float = 1.0) -> str:
    return "-" if value is None else format(value / unit, form)


def columns(rows: list[list[str]]) -> str:
    """Cells under one another: the first of each row to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths)))
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)


def check_plot(path: str) -> None:
    """Raise UsageError now rather than after the measurement."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UsageError("--plot: needs matplotlib; pip install -r requirements-extras.txt") from None
    if Path(path).suffix not in (".png", ".svg", ".pdf"):
        raise UsageError(f"--plot {path}: the file's name must end in .png, .svg or .pdf")


def draw_bars(report: dict[str, Any], path: str) -> None:
    """Real tokens per second and peak memory of each lane, side by side."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    lanes = report["lanes"].values()
    names = list(report["lanes"])
    figure, (speed, memory) = pyplot.subplots(1, 2, figsize=(11, 0.5 * len(names) + 1.5), layout="constrained")
    bars = speed.barh(names, [lane["real_tokens_per_second"] for lane in lanes])
    speed.bar_label(bars, fmt="%.0f", padding=3)
    speed.set_title("real tokens per second of training")
    bars = memory.barh(names, [lane["peak_memory_bytes"] / 1e9 for lane in lanes], color="tab:orange")
    memory.bar_label(bars, fmt="%.2f", padding=3)
    memory.set_title("peak memory, GB")
    memory.set_yticklabels([])
    for axes in (speed, memory):
        axes.invert_yaxis()
        axes.margins(x=0.15)
    figure.suptitle(f"{report['workload']['base']}\n{report['machine']['cpu']}", fontsize=9)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)

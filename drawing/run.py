"""What happened while it trained: curves, the gradients of A and B, and where the memory goes."""

from collections.abc import Mapping, Sequence
from typing import Any

from drawing.bars import stacked
from drawing.lines import lines
from drawing.page import Figure, Section, Table
from drawing.scale import in_bytes, percent, short

Report = Mapping[str, Any]
SCORES = {"f1": "F1", "accuracy": "accuracy", "precision": "precision", "recall": "recall"}
ROWS = 12  # of a table that stands for a curve of every step


def curves(report: Report) -> Section | None:
    """Loss, scores, gradient norm and learning rate over the steps."""
    rows = report.get("curves") or []
    rows = [r for r in rows if r.get("loss") is not None]
    steps, evaluations = [r for r in rows if "part" not in r], [r for r in rows if "part" in r]
    if not steps and not evaluations:
        return None
    figures = [_loss(steps, evaluations)]
    scores = {name: [(r["step"], r.get(key)) for r in evaluations] for key, name in SCORES.items()}
    scores = {name: [p for p in points if p[1] is not None] for name, points in scores.items()}
    scores = {name: points for name, points in scores.items() if points}
    if scores:
        last = ", ".join(f"{name} {points[-1][1]:.3f}" for name, points in scores.items())
        picture = lines(
            scores, title=f"Scores on the {evaluations[0]['part']} rows", x_label="step", marks=scores,
            desc=f"Scores over the steps; at the end {last}.",
        )  # fmt: skip
        figures.append(Figure(picture, _of_rows(evaluations, {"f1": "F1", "accuracy": "accuracy", "loss": "loss"})))
    for key, name, unit in (("grad_norm", "Gradient norm", "before clipping"), ("learning_rate", "Learning rate", "")):
        points = [(r["step"], r[key]) for r in steps if r.get(key) is not None]
        if points:
            desc = f"{name} from {short(points[0][1])} at step {points[0][0]} to {short(points[-1][1])} at the end."
            picture = lines({name: points}, title=name, desc=desc, x_label="step", y_label=unit, thin=[name],
                            from_zero=True)  # fmt: skip
            figures.append(Figure(picture, _of_rows(steps, {key: name.lower()})))
    return Section("curves", "How the training went", _went(steps, evaluations), figures)


def _went(steps: Sequence[Report], evaluations: Sequence[Report]) -> str:
    said = ""
    if steps:
        tenth = max(1, len(steps) // 10)
        first, last = (sum(r["loss"] for r in part) / tenth for part in (steps[:tenth], steps[-tenth:]))
        word = "fell" if last < first else "went"
        said = f"The loss {word} from {short(first)} (mean of the first {tenth} steps) to {short(last)} (of the last)"
    if evaluations:
        said += f"{', and' if said else 'The loss'} on {evaluations[0]['part']} rows" + " it" * bool(said)
        best = min(evaluations, key=lambda r: r["loss"])
        said += f" was lowest at step {best['step']}, {short(best['loss'])}"
    return said + "."


def _loss(steps: Sequence[Report], evaluations: Sequence[Report]) -> Figure:
    series = {"each step": [(r["step"], r["loss"]) for r in steps]} if steps else {}
    if evaluations:
        series[f"{evaluations[0]['part']} rows"] = [(r["step"], r["loss"]) for r in evaluations]
    picture = lines(
        series, title="Loss", desc=_went(steps, evaluations), x_label="step", y_label="nats", thin=["each step"],
        marks=[name for name in series if name != "each step"], from_zero=True,
    )  # fmt: skip
    return Figure(picture, _of_rows(steps or evaluations, {"loss": "loss"}))


def _of_rows(rows: Sequence[Report], names: Mapping[str, str]) -> Table:
    """Some of the rows, evenly spaced, the last among them."""
    every = -(-len(rows) // ROWS)
    kept = rows[::-1][::every][::-1] if rows else []
    names = {key: name for key, name in names.items() if any(key in r for r in kept)}
    return Table(["step", *names.values()], [[f"{r['step']:,}", *(short(r.get(key)) for key in names)] for r in kept])


def gradients(report: Report) -> Section | None:
    """Norms of the gradients of A, B and head over the snapshots."""
    rows = report.get("gradients") or []
    names = {"lora_A": "A", "lora_B": "B", "head": "head"}
    names |= {"lora_embedding_A": "A of the embedding", "lora_embedding_B": "B of the embedding"}
    series = {name: [(r["step"], r.get(key)) for r in rows] for key, name in names.items()}
    series = {name: points for name, points in series.items() if any(v is not None for _, v in points)}
    if not series:
        return None
    start = rows[0]
    told = ", ".join(f"{name} {short(start.get(key))}" for key, name in names.items() if start.get(key) is not None)
    begins = f"At step {start['step']} the norms are: {told}"
    if not start.get("lora_A") and start.get("lora_B"):
        begins += "; B starts as zeros, so at first B alone has a gradient, and A waits until B has grown"
        if start.get("lora_embedding_A"):
            begins += ", while of the embedding it is A that starts as zeros and B that waits"
    picture = lines(series, title="Gradient norms", desc=begins, x_label="step", y_label="norm, logarithmic axis",
                    log_y=True, marks=series)  # fmt: skip
    table = Table(["step", *series], [[f"{r['step']:,}", *(short(r.get(k)) for k in names if names[k] in series)]
                                      for r in rows])  # fmt: skip
    note = "The same rows of the training part for every snapshot; a norm of exactly zero has no place on this axis."
    return Section("gradients", "The gradients of A and B", f"{begins}.", [Figure(picture, table, note=note)])


def memory(report: Report) -> Section | None:
    """Weights, gradients, averages and activations for head, LoRA and full."""
    rows = report.get("memory") or []
    if not rows:
        return None
    names = {"weights": "weights", "gradients": "gradients", "optimizer": "AdamW's averages",
             "activations": "activations"}  # fmt: skip
    names = {key: name for key, name in names.items() if any(r.get(key) is not None for r in rows)}
    shown = {"head": "head alone", "lora": "LoRA", "full": "all weights"}
    bars = [(shown.get(r["name"], r["name"]), [r.get(key) for key in names]) for r in rows]
    sums = {name: sum(v or 0 for v in values) for name, values in bars}
    said = f"To train {', '.join(f'{name} takes {in_bytes(total)}' for name, total in sums.items())}"
    whole = next((r for r in rows if r["name"] == "full"), None)
    ours = next((r for r in rows if r["name"] == "lora"), None)
    if whole and ours and whole.get("optimizer"):
        said += f"; LoRA's averages are {percent(ours['optimizer'] / whole['optimizer'])} of those of all weights"
    if "activations" in names and report.get("batch_rows"):
        said += f"; the activations are those of {report['batch_rows']} rows in one pass"
    picture = stacked(bars, list(names.values()), title="Memory of a step", desc=f"{said}.", form=in_bytes)
    cells = [[name, *(in_bytes(v) if v is not None else "-" for v in values), in_bytes(sums[name])]
             for name, values in bars]  # fmt: skip
    table = Table(["trained", *names.values(), "together"], cells)
    return Section("memory", "Where the memory goes", f"{said}.", [Figure(picture, table)])

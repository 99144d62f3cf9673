"""How good the answers are, and where they are not."""

from collections.abc import Mapping
from typing import Any

from drawing.grid import heat
from drawing.lines import lines, reliability
from drawing.page import Figure, Section, Table
from drawing.scale import percent, short

Report = Mapping[str, Any]
MOST_LABELS = 12  # that a matrix can show


def confusion(report: Report) -> Section | None:
    """What rows are and what they were called, before and after training."""
    found, names = _evaluation(report)
    after = found.get("after")
    if not after or not names:
        return None
    rows, right = after["rows"], round(after["accuracy"] * after["rows"])
    says = f"The tuned model has {right:,} of {rows:,} test rows right ({percent(after['accuracy'])})"
    if before := found.get("before"):
        says += f", the base {round(before['accuracy'] * before['rows']):,}"
    few = len(names) <= MOST_LABELS
    says += "; on the diagonal stand the right answers" if few else f"; {len(names)} labels are too many for a matrix"
    parts = []
    for key, title in (("before", "Before training"), ("after", "After training")):
        scores = found.get(key)
        if scores and few:
            matrix = scores["confusion_matrix"]
            desc = "; ".join(
                f"of {sum(row):,} rows that are {name}: " + ", ".join(f"{v:,} called {n}" for v, n in zip(row, names))
                for name, row in zip(names, matrix)
            )
            picture = heat(names, names, matrix, title=title, desc=desc, corner="truth \\ said",
                           form=lambda v: f"{v:,}")  # fmt: skip
            table = Table(["truth \\ said", *names], [[n, *(f"{v:,}" for v in row)] for n, row in zip(names, matrix)],
                          title)  # fmt: skip
            parts.append(Figure(picture, table))
    lines_ = {"before": found.get("before"), "after": after, **(found.get("baselines") or {})}
    keys = {"accuracy": "accuracy", "precision": "precision", "recall": "recall", "f1": "F1", "loss": "loss"}
    cells = [[name.replace("_", " "), *(short(s.get(k)) for k in keys)] for name, s in lines_.items() if s]
    return Section("confusions", "Right and wrong", f"{says}.", [*parts, Table(["", *keys.values()], cells)])


def mistakes(report: Report) -> Section | None:
    """The wrong answers that the model was surest of."""
    errors = _evaluation(report)[0].get("errors") or []
    if not errors:
        return None
    cells = [[percent(e["probability"]), e["answer"], e["truth"], e["text"]] for e in errors]
    says = (
        "These are the wrong answers that the model was surest of; read them, some may be the label's fault rather "
        "than the model's."
    )
    return Section("mistakes", "The surest mistakes", says, [Table(["sure", "said", "truth", "text"], cells)])


def length(report: Report) -> Section | None:
    """Whether the answer follows from the length of a text alone."""
    found, names = _evaluation(report)
    rows = [r for r in found.get("by_length") or [] if r.get("rows")]
    if not rows:
        return None
    middles = [(r["from"] + r["to"]) / 2 for r in rows]
    name, said, true = _shares(rows, names)
    curves = {"right": [r.get("right") for r in rows], f"said {name}": said, f"is {name}": true}
    series = {curve: list(zip(middles, shares)) for curve, shares in curves.items()}
    says = (
        f"Each dot is a group of test rows of about the same length: of the shortest {percent(said[0])} were called "
        f"{name}, of the longest {percent(said[-1])}; where what was said leaves what is true and follows the length, "
        "length was taken for a sign"
    )
    if len(names) > 2:
        says += f"; of {len(names)} labels only the commonest is shown"
    picture = lines(series, title="Answers by length", desc=f"{says}.", x_label="characters in the text",
                    y_label="share of rows", marks=series, y_range=(0, 1))  # fmt: skip
    head = ["characters", "rows", *series]
    cells = [[f"{r['from']} to {r['to']}", f"{r['rows']:,}", *(percent(points[i][1]) for points in series.values())]
             for i, r in enumerate(rows)]  # fmt: skip
    return Section("length", "The shortcut of length", f"{says}.", [Figure(picture, Table(head, cells))])


def _shares(rows: list[Report], names: list[str]) -> tuple[str, list[float], list[float]]:
    """A label, and in each group the share of rows that were called so and that are: of two labels the second, of more
    the one that most rows have."""
    said, true = ([r[key] for r in rows] for key in ("said", "true"))
    if not isinstance(true[0], list):
        return names[1] if len(names) > 1 else "it", said, true
    at = max(range(len(true[0])), key=lambda i: sum(r["rows"] * r["true"][i] for r in rows))
    return names[at] if names else "it", *([shares[at] for shares in kind] for kind in (said, true))


def thresholds(report: Report) -> Section | None:
    """Precision and recall against the probability from which a row is called positive."""
    found, names = _evaluation(report)
    rows = found.get("threshold_curve") or []
    if not rows:
        return None
    keys = {"precision": "precision", "recall": "recall", "f1": "F1"}
    series = {name: [(r["threshold"], r.get(key)) for r in rows] for key, name in keys.items()}
    best = max(rows, key=lambda r: r.get("f1") or 0)
    label = names[1] if len(names) > 1 else "positive"
    says = (
        f"The further right, the surer the model must be to say {label}: fewer false alarms, more that is missed; F1 "
        f"is highest at {short(best['threshold'])} ({short(best['f1'])})"
    )
    kept = found.get("best_threshold")
    if kept:
        says += f", and the validation part, which alone may choose, says {short(kept['threshold'])} (the upright line)"
    picture = lines(series, title="What a threshold trades", desc=f"{says}.", x_label=f"called {label} from here on",
                    x_range=(0, 1), y_range=(0, 1), rule=kept["threshold"] if kept else None)  # fmt: skip
    every = max(1, len(rows) // 20)
    told = [r for i, r in enumerate(rows) if i % every == 0 or (kept and r["threshold"] == kept["threshold"])]
    cells = [[short(r["threshold"]), *(short(r.get(key)) for key in keys)] for r in told]
    table = Table(["threshold", *keys.values()], cells)
    return Section("thresholds", "Where to draw the line", f"{says}.", [Figure(picture, table)])


def reliable(report: Report) -> Section | None:
    """Whether the model is right as often as it says."""
    found, _ = _evaluation(report)
    bins = [b for b in found.get("reliability") or [] if b.get("rows")]
    if not bins:
        return None
    error = (found.get("after") or {}).get("calibration_error")
    under = sum(b["rows"] for b in bins if b["accuracy"] < b["confidence"])
    says = (
        "A dot on the dashed line is a group of rows in which the model is right as often as it says; below the line, "
        f"where {percent(under / sum(b['rows'] for b in bins))} of the rows are, it is surer than it should be"
    )
    if error is not None:
        says += f" (mean distance, the calibration error: {percent(error)})"
    picture = reliability([(b["confidence"], b["accuracy"], b["rows"]) for b in bins], title="Sure and right",
                          desc=f"{says}.")  # fmt: skip
    cells = [[percent(b["confidence"]), percent(b["accuracy"]), f"{b['rows']:,}"] for b in bins]
    return Section("reliability", "Can one believe its probabilities?", f"{says}.",
                   [Figure(picture, Table(["said", "right", "rows"], cells))])  # fmt: skip


def _evaluation(report: Report) -> tuple[Report, list[str]]:
    found = report.get("evaluation") or {}
    return found, list(found.get("label_names") or [])

"""A writer's run: which kinds of token got cheaper, and what it wrote on the way."""

from collections.abc import Mapping
from typing import Any

from drawing.bars import bars
from drawing.page import Figure, Section, Table
from drawing.scale import short

Report = Mapping[str, Any]


def kinds(report: Report) -> Section | None:
    """Nats by kind of token, base and tuned."""
    rows = (report.get("writer") or {}).get("kinds") or []
    if not rows:
        return None
    says = "Each bar is what a token of its kind costs, in nats (0: the model was certain)"
    gains = {r["kind"]: r["base"] - r["tuned"] for r in rows if r.get("base") is not None}
    if gains:
        most = max(gains, key=gains.__getitem__)
        says += f", before and after; most was learned about this kind: {most}, {short(gains[most])} nats less"
    nats = (report["writer"].get("nats") or {}).get("tuned")
    says += f"; over all kinds it is {short(nats)}." if nats is not None else "."
    picture = bars([(r["kind"], [r.get("base"), r["tuned"]]) for r in rows], ["base", "tuned"], title="Nats a token",
                   desc=says)  # fmt: skip
    cells = [[r["kind"], f"{r['tokens']:,}", short(r.get("base")), short(r["tuned"])] for r in rows]
    return Section("kinds", "What got easier to guess", says,
                   [Figure(picture, Table(["kind", "tokens", "base", "tuned"], cells))])  # fmt: skip


def samples(report: Report) -> Section | None:
    """What the model wrote at each snapshot."""
    rows = (report.get("writer") or {}).get("samples") or []
    if not rows:
        return None
    says = f"One line written at each of {len(rows)} moments of the training, with the same draws each time."
    if len(rows) == 1:
        says = "One line written by the model as it was saved."
    cells = [["as saved" if r["step"] is None else f"{r['step']:,}", r["text"]] for r in rows]
    return Section("samples", "What it wrote on the way", says, [Table(["step", "text"], cells)])

"""What was learned, as matrices: how large each update is, and how few directions it has."""

from collections.abc import Mapping, Sequence
from typing import Any

from drawing.grid import heat
from drawing.lines import lines
from drawing.page import Figure, Section, Table
from drawing.scale import percent, short

Report = Mapping[str, Any]
MOST, IN_TABLE = 32, 8  # singular values that are drawn, and that stand in a table


def update_map(report: Report) -> Section | None:
    """|dW| / |W0| of each layer, q, k and v apart."""
    rows = [r for r in report.get("updates") or [] if r.get("relative") is not None]
    if not rows:
        return None
    most = max(rows, key=lambda r: r["relative"])
    name = most["layer"] + (f" ({most['part']})" if most.get("part") else "")
    says = (
        "Each field is the size of a layer's update against the weights it is added to; the largest is "
        f"{name}, {percent(most['relative'])}."
    )
    if most.get("block") is None:
        says += " The colours compare the blocks: what stands outside them may be larger than the darkest."
    figures = [_map("LoRA's update" if report.get("full") else "The update", rows, says)]
    full = [r for r in (report.get("full") or {}).get("updates") or [] if r.get("relative") is not None]
    if full:
        top = max(full, key=lambda r: r["relative"])
        desc = f"The same of full fine-tuning; the largest is {top['layer']}, {percent(top['relative'])}."
        figures.append(_map("Full fine-tuning's update", full, desc))
    return Section("map", "Where the update sits", says, figures)


def _map(title: str, rows: Sequence[Report], desc: str) -> Figure:
    places = {(r.get("block"), _column(r)): r["relative"] for r in rows}
    blocks = sorted({b for b, _ in places if b is not None}) + [None] * any(b is None for b, _ in places)
    columns = list(dict.fromkeys(c for _, c in places))
    values = [[places.get((b, c)) for c in columns] for b in blocks]
    inside = max((v for (b, _), v in places.items() if b is not None), default=None)
    names = ["else" if b is None else f"block {b}" for b in blocks]
    picture = heat(names, columns, values, title=f"{title}, % of the weights", desc=desc,
                   width=max(340, 70 + 46 * len(columns)), form=lambda v: short(100 * v, 2),
                   darkest=inside)  # fmt: skip
    cells = [[n, *(percent(v) for v in row)] for n, row in zip(names, values)]
    return Figure(picture, Table(["", *columns], cells))


def _column(row: Report) -> str:
    module = row["module"].removeprefix("attn.").replace("mlp.c_proj", "mlp").removeprefix("mlp.")
    return row["part"] if row.get("part") else module


def spectra(report: Report) -> Section | None:
    """Singular values of each layer's update, beside full fine-tuning's where that is known."""
    rows = [r for r in report.get("updates") or [] if not r.get("part") and r.get("singular_values")]
    if not rows:
        return None
    full = report.get("full") or {}
    others = {r["layer"]: r for r in full.get("updates") or [] if not r.get("part")}
    overlap = {r["layer"]: r for r in full.get("overlap") or []}
    ranks = [r["stable_rank"] for r in rows if r.get("stable_rank")]
    says = (
        f"Each curve is a layer's singular values; their stable rank (the number of directions that count) is \
{short(min(ranks), 2)} to {short(max(ranks), 2)}"
        if ranks
        else "Each curve is a layer's singular values"
    )
    shares = [r["energy_in_r"] for r in others.values() if r.get("energy_in_r") is not None]
    if shares:
        r = len(rows[0]["singular_values"])
        says += (
            f". Of full fine-tuning's updates {percent(min(shares))} to {percent(max(shares))} lie in {r} directions"
        )
    figures = [_spectrum(row, others.get(row["layer"])) for row in rows]
    head = ["layer", "size", "of W0", "stable rank"]
    cells = [[r["layer"], short(r.get("norm")), percent(r.get("relative")), short(r.get("stable_rank"))] for r in rows]
    if others:
        head += ["full: stable rank", "full: energy in r"]
        for row, cell in zip(rows, cells):
            other = others.get(row["layer"], {})
            cell += [short(other.get("stable_rank")), percent(other.get("energy_in_r"))]
    if overlap:
        head += ["overlap", "by chance"]
        for row, cell in zip(rows, cells):
            found = overlap.get(row["layer"], {})
            cell += [percent(found.get("value")), percent(found.get("chance"))]
    table = Table(head, cells, "Overlap: the share of full fine-tuning's update in LoRA's directions." * bool(overlap))
    parts = [*figures, table, _numbers(rows, others)]
    return Section("spectra", "How many directions an update has", f"{says}.", parts)


def _spectrum(row: Report, other: Report | None) -> Figure:
    ours = list(enumerate(row["singular_values"][:MOST], 1))
    series = {"LoRA" if other else "update": ours}
    desc = (
        f"The largest singular value of {row['layer']} is {short(ours[0][1])}, the {len(ours)}th {short(ours[-1][1])}"
    )
    if other:
        theirs = list(enumerate(other["singular_values"][:MOST], 1))
        series["full"] = theirs
        desc += f"; full fine-tuning's {short(theirs[0][1])} and, the {len(theirs)}th, {short(theirs[-1][1])}"
    return Figure(lines(series, title=row["layer"], desc=f"{desc}.", width=150, height=130, from_zero=True), None)


def _numbers(rows: Sequence[Report], others: Mapping[str, Report]) -> Table:
    """The first singular values of every layer, full fine-tuning's below LoRA's."""
    cells = []
    for row in rows:
        for of, found in (("LoRA" if others else "update", row), ("full", others.get(row["layer"]))):
            if found:
                values = [short(v) for v in found["singular_values"][:IN_TABLE]]
                cells.append([row["layer"], of, *values, *["-"] * (IN_TABLE - len(values))])
    return Table(["layer", "of", *map(str, range(1, IN_TABLE + 1))], cells, "Singular values", folded=True)

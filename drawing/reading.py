"""One text on its way through the model: bytes, tokens, the token that is read, and what moved the answer."""

from collections.abc import Mapping
from typing import Any

from drawing.bars import bars
from drawing.lines import lines
from drawing.page import Figure, Section, Table
from drawing.scale import percent, short
from drawing.tokens import seen, strip

Report = Mapping[str, Any]


def read_text(report: Report) -> Section | None:
    """Of a classifier: from the bytes of a text to its label."""
    asked = report.get("text")
    if not asked or "pooled" not in asked:
        return None
    names, tuned = asked["label_names"], asked["tuned"]
    answer = max(range(len(tuned)), key=tuned.__getitem__)
    read = seen(asked["tokens"][asked["pooled"]])
    cut = " (the rest was cut)" * bool(asked.get("cut"))
    says = (
        f"{asked['bytes']:,} bytes become {len(asked['tokens']):,} tokens{cut}; "
        f"the model answers from what it holds at the framed one, {read}: {names[answer]}, {percent(tuned[answer])}"
    )
    if base := asked.get("base"):
        says += f", where the base said {names[answer]} with {percent(base[answer])}"
    parts = [_tokens(asked), answers(asked), prefixes(asked), added(asked)]
    return Section("text", "One text, step by step", f"{says}.", [p for p in parts if p is not None])


def _tokens(asked: Report) -> Figure:
    """The tokens, coloured by what leaving one out changes."""
    tokens = asked["tokens"]
    without = asked.get("leave_one_out") or [None] * len(tokens)
    speaks = [None if v is None else -v for v in without]  # the answer's log-odds fall without it: it speaks for it
    label = asked["label"]
    desc = f"The tokens; a warm colour speaks for {label}, a cold one against it. Framed: the token that is read."
    picture = strip(tokens, speaks, desc=desc, read=asked["pooled"],
                    notes=[f"without it: {short(v)}" if v is not None else "" for v in without])  # fmt: skip
    prefix = (asked.get("prefix") or {}).get("tuned") or []
    cells = []
    for i, token in enumerate(tokens):
        numbers = " ".join(f"{b:02x}" for b in token.get("bytes") or [])
        after = short(prefix[i]) if i < len(prefix) else "-"
        cells.append([seen(token), numbers, str(token["id"]), short(without[i]), after])
    head = ["token", "bytes", "id", "change without it", "log-odds up to here"]
    note = (
        f"Colours: the change of the log-odds of {label} when the token is left out, orange for a token that speaks "
        "for it, blue for one that speaks against it. · is a space."
    )
    return Figure(picture, Table(head, cells, "Tokens"), wide=True, note=note)


def answers(asked: Report) -> Figure:
    """Probabilities of the labels, base beside tuned."""
    names, base, tuned = asked["label_names"], asked.get("base"), asked["tuned"]
    kept = sorted(range(len(names)), key=lambda i: -tuned[i])[:8]
    kept = sorted(kept) if len(names) <= 8 else kept
    rows = [(names[i], [base[i], tuned[i]] if base else [tuned[i]]) for i in kept]
    desc = "; ".join(f"{names[i]}: " + (f"base {percent(base[i])}, " if base else "") + f"tuned {percent(tuned[i])}"
                     for i in kept)  # fmt: skip
    said = ["base", "tuned"] if base else ["tuned"]
    picture = bars(rows, said, title="The answer", desc=desc, form=percent, most=1)
    return Figure(picture, Table(["label", *said], [[n, *map(percent, v)] for n, v in rows], "The answer"))


def prefixes(asked: Report) -> Figure | None:
    """The log-odds after each prefix of the text."""
    prefix = asked.get("prefix") or {}
    found = {name: prefix[name] for name in ("base", "tuned") if prefix.get(name)}
    if not found:
        return None
    series = {name: list(enumerate(values, 1)) for name, values in found.items()}
    values = found.get("tuned") or next(iter(found.values()))
    steps = [b - a for a, b in zip([0.0, *values], values)]
    at = max(range(len(steps)), key=lambda i: abs(steps[i]))
    desc = (
        f"Log-odds of {asked['label']} had the text ended at each token: {short(values[-1])} at the end; the largest "
        f"step is at token {at + 1}, {seen(asked['tokens'][at])}."
    )
    picture = lines(series, title="Had the text ended here", desc=desc, x_label="token", from_zero=True,
                    y_label=f"log-odds of {asked['label']}", marks=series)  # fmt: skip
    cells = [[seen(t), *(short(v[i]) if i < len(v) else "-" for v in found.values())]
             for i, t in enumerate(asked["tokens"])]  # fmt: skip
    return Figure(picture, Table(["up to", *found], cells, f"Log-odds of {asked['label']}"), note=desc)


def added(asked: Report) -> Figure | None:
    """What each layer's adapter adds to the log-odds."""
    rows = asked.get("contributions") or []
    if not rows:
        return None
    total, most = sum(r["value"] for r in rows), max(rows, key=lambda r: abs(r["value"]))
    desc = (
        f"Switched on one by one, in the order of the forward pass, the adapters move the log-odds of {asked['label']} "
        f"by {short(total)} together; the largest step is {most['layer']}, {short(most['value'])}."
    )
    picture = bars([(r["layer"], [r["value"]]) for r in rows], title="What each layer adds", desc=desc,
                   label=f"log-odds of {asked['label']}")  # fmt: skip
    cells = [[r["layer"], short(r["value"])] for r in rows]
    return Figure(
        picture, Table(["layer", "adds"], [*cells, ["together", short(total)]], "What each layer adds"), note=desc
    )


def token_nats(report: Report) -> Section | None:
    """Of a writer: what each token of a text cost, base and tuned."""
    asked = report.get("text")
    if not asked or "pooled" in asked or not asked.get("tuned"):
        return None
    tokens, tuned = asked["tokens"], asked["tuned"]
    base = asked.get("base") or [None] * len(tokens)
    gained = [None if a is None or b is None else b - a for a, b in zip(base, tuned)]
    before, after = (short(sum(v for v in values if v is not None)) for values in (base, tuned))
    cut = " (the rest was cut)" * bool(asked.get("cut"))
    says = f"{len(tokens):,} tokens{cut}: each cost the model nats (0: it was certain of it), together {after}."
    if asked.get("base"):
        says = says.removesuffix(".") + f", and {before} before training; blue ones got cheaper, orange ones dearer."
    notes = [f"base {short(a)}, tuned {short(b)} nats" for a, b in zip(base, tuned)]
    picture = strip(tokens, gained, desc=says, notes=notes)
    cells = [[seen(t), str(t["id"]), short(a), short(b)] for t, a, b in zip(tokens, base, tuned)]
    return Section("text", "One text, token by token", says,
                   [Figure(picture, Table(["token", "id", "base", "tuned"], cells), wide=True)])  # fmt: skip

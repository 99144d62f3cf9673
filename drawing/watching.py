"""What demo.py shows: an answer while one drags time, rank and strength. HTML out, as on a page of a report."""

from collections.abc import Mapping, Sequence
from typing import Any

from drawing.bars import bars
from drawing.lines import lines
from drawing.page import Figure, Table, figure, folded
from drawing.reading import answers
from drawing.scale import percent, short
from drawing.svg import DARK, LIGHT, RULES, escape, variables
from drawing.tokens import CSS as TOKENS
from drawing.tokens import seen, strip

# Gradio says `dark` on the body, also where it was asked for by ?__theme=dark. Its own h3 and p are left alone.
CSS = (
    f".watch{{{variables(LIGHT)}}}.dark .watch{{{variables(DARK)}}}.watch{{background:var(--paper);color:var(--ink);"
    "padding:.2rem;border-radius:4px;overflow-wrap:anywhere}.watch h3{font-size:1rem;font-weight:600;margin:.8rem 0 0;"
    "color:var(--ink)}.watch p,.watch summary,.watch td,.watch th,.watch li{color:var(--ink);font-size:.9rem}"
    ".watch .say{font-size:1.05rem;font-weight:600}.watch .soft{color:var(--soft)}.watch .figures{display:flex;"
    "flex-wrap:wrap;gap:.6rem}.watch figure{margin:0;min-width:0}.watch figure>svg{width:100%;height:auto}"
    ".watch .scroll{overflow-x:auto}.watch table{overflow-wrap:break-word}.watch td,.watch th{text-align:left;"
    "padding:.1rem .6rem .1rem 0}.watch td.n,.watch th.n{text-align:right;white-space:nowrap}"
    ".watch .pair{display:flex;gap:.5rem;align-items:baseline}.watch .pair b{flex:0 0 3.2rem}.watch .pair p{margin:0}"
    ".watch :focus-visible{outline:2px solid var(--c0)}" + RULES + TOKENS
)


def classified(answer: Mapping[str, Any], values: str, where: str) -> str:
    """An answer of a classifier, base beside tuned. `where` says at which step, rank and strength; `values` are the
    `spectra` there."""
    names, base, tuned = answer["label_names"], answer["base"], answer["tuned"]
    best = max(range(len(tuned)), key=tuned.__getitem__)
    said = f"{names[best]}, {percent(tuned[best])} (base: {percent(base[best])})"
    label = answer["label"]
    prefix = answer["prefix"]
    most = max((abs(v) for values in prefix.values() for v in values), default=1.0)
    parts = [_say(said, where, "beginning" if answer.get("cut") else None)]
    for name in ("base", "tuned"):
        notes = [f"log-odds {short(v)}" for v in prefix[name]]
        desc = f"{name}: the tokens, coloured by the log-odds of {label} after each."
        tokens = strip(answer["tokens"], prefix[name], desc=desc, notes=notes, most=most)
        parts.append(f'<div class="pair"><b>{name}</b>{tokens}</div>')
    told = f"Had the text ended there: orange for {label}, blue against it, one scale for both."
    parts.append(f'<p class="soft">{escape(told)}</p>')
    cells = [[seen(t), short(a), short(b)] for t, a, b in zip(answer["tokens"], prefix["base"], prefix["tuned"])]
    parts.append(folded(Table(["up to", "base", "tuned"], cells, f"log-odds of {label}")))
    return _whole([*parts, _figures([answers(answer)]), values])


def written(following: Sequence[Mapping[str, Any]], values: str, where: str, cut: bool = False) -> str:
    """What a writer would go on with: the likeliest next tokens, base beside tuned; `cut`: of a prompt's end alone."""
    rows = [(seen(r), [r["base"], r["tuned"]]) for r in following]
    first = following[0]
    said = f"next: {seen(first)}, {percent(first['tuned'])} (base: {percent(first['base'])})"
    desc = "The likeliest next tokens: " + "; ".join(
        f"{name}: base {percent(a)}, tuned {percent(b)}" for name, (a, b) in rows
    )
    picture = bars(rows, ["base", "tuned"], title="The next token", desc=desc, form=percent)
    cells = [[name, percent(a), percent(b)] for name, (a, b) in rows]
    shown = Figure(picture, Table(["token", "base", "tuned"], cells))
    return _whole([_say(said, where, "end" if cut else None), _figures([shown]), values])


def sample(base: str, tuned: str) -> str:
    """A line written by the base, and one by the tuned model as it stands."""
    lines_ = {"base": base, "tuned": tuned}
    return _whole(f"<p><b>{name}</b> {escape(line or '(ends at once)')}</p>" for name, line in lines_.items())


def nothing(words: str) -> str:
    return _whole([f'<p class="say" role="status">{escape(words)}</p>'])


def spectra(rows: Sequence[Mapping[str, Any]], tops: Mapping[str, float]) -> str:
    """Singular values of each layer's update; its axis reaches to its number in `tops`, however small they get."""
    figures, count = [], max((len(row["singular_values"]) for row in rows), default=0)
    for row in rows:
        values = row["singular_values"]
        told = ", ".join(short(v) for v in values[:8])
        picture = lines({"update": list(enumerate(values, 1))}, title=row["layer"], desc=f"Singular values: {told}.",
                        width=126, height=104, y_range=(0, tops[row["layer"]] or 1), marks=["update"],
                        x_range=(1, max(2, count)))  # fmt: skip
        figures.append(Figure(picture, None))
    if not figures:
        return ""
    head = "<h3>Singular values of each layer's update</h3>"
    cells = [[r["layer"], *(short(v) for v in r["singular_values"]), *["-"] * (count - len(r["singular_values"]))]
             for r in rows]  # fmt: skip
    return head + _figures(figures) + folded(Table(["layer", *(str(i + 1) for i in range(count))], cells))


def _say(said: str, where: str, read: str | None) -> str:
    soft = where + (f". The text was too long; only its {read} was read" if read else "")
    return f'<p class="say" role="status">{escape(said)}</p><p class="soft">{escape(soft)}.</p>'


def _figures(figures: Sequence[Figure]) -> str:
    return f'<div class="figures">{"".join(map(figure, figures))}</div>'


def _whole(parts: Any) -> str:
    return f'<div class="watch">{"".join(parts)}</div>'

"""Bars that lie: names of any length stand beside them."""

from collections.abc import Callable, Sequence

from drawing.scale import Scale, short
from drawing.svg import COLORS, chart, extent, fitted, legend, tag, text

THICK, GAP = 13, 9  # pixels: of a bar, and between two groups


def bars(
    rows: Sequence[tuple[str, Sequence[float | None]]], names: Sequence[str] = (), *, title: str, desc: str,
    label: str = "", width: float = 340, form: Callable[[float | None], str] = short, most: float | None = None,
) -> str:  # fmt: skip
    """A group of bars a row, one for each of `names`; bars below zero go to the left.

    `form` writes the number beside a bar; `most`: what the axis reaches to, such as 1 for shares; `label`: what the
    numbers are.
    """
    values = [v for _, group in rows for v in group if v is not None]
    low, high = min([0.0, *values]), max([most or 0.0, 0.0, *values])
    key, tall = legend(names, 8, 34, width - 16) if len(names) > 1 else ([], 0.0)
    top = 30 + tall + (14 if label else 0)
    left = _room(rows, width)
    beside = max((extent(form(v)) for v in values), default=0) + 6
    x = Scale(low, high if high > low else low + 1, left + (beside if low < 0 else 0), width - 10 - beside)
    body, y = list(key), top
    if label:
        body.append(text(8, 34 + tall, label, "s"))
    for name, group in rows:
        middle = y + len(group) * THICK / 2 + 4
        body.append(text(left - 6, middle, fitted(name, left - 12), "e"))
        for i, value in enumerate(group):
            if value is not None:
                a, b = sorted((x(0), x(value)))
                color = i if len(names) > 1 else int(value < 0)
                body.append(tag("rect", klass=f"f{color % COLORS}", x=a, y=float(y + 1), width=b - a, height=THICK - 2))
                at, klass = (b + 4, None) if value >= 0 else (a - 4, "e")
                body.append(text(at, y + THICK - 3, form(value), klass))
            y += THICK
        y += GAP
    body.append(tag("line", klass="zero", x1=x(0), y1=float(top - 4), x2=x(0), y2=float(y - GAP + 4)))
    return chart(width, y + 2, title, desc, body)


def stacked(
    rows: Sequence[tuple[str, Sequence[float | None]]], names: Sequence[str], *, title: str, desc: str,
    label: str = "", width: float = 340, form: Callable[[float | None], str] = short,
) -> str:  # fmt: skip
    """A bar a row, made of a piece for each of `names`; its sum stands beside it."""
    sums = [sum(v or 0 for v in group) for _, group in rows]
    key, tall = legend(names, 8, 34, width - 16)
    left, top = _room(rows, width), 30 + tall + (14 if label else 0)
    beside = max((extent(form(s)) for s in sums), default=0) + 6
    x = Scale(0, max([*sums, 0]) or 1, left, width - 10 - beside)
    body, y = list(key), top
    if label:
        body.append(text(8, 34 + tall, label, "s"))
    for (name, group), total in zip(rows, sums):
        body.append(text(left - 6, y + 13, fitted(name, left - 12), "e"))
        done = 0.0
        for i, value in enumerate(group):
            if value:
                a, b = x(done), x(done + value)
                body.append(tag("rect", klass=f"f{i % COLORS}", x=a, y=float(y), width=b - a, height=18))
                done += value
        body.append(text(x(total) + 4, y + 13, form(total)))
        y += 18 + GAP
    return chart(width, y + 2, title, desc, body)


def _room(rows: Sequence[tuple[str, Sequence[float | None]]], width: float) -> float:
    """Pixels for the names: what the longest needs, two fifths of the picture at most."""
    return 14 + min(max((extent(name) for name, _ in rows), default=0), 0.4 * width)

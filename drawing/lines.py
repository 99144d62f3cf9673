"""Curves over a pair of axes, and the reliability diagram."""

import math
from collections.abc import Iterable, Mapping, Sequence

from drawing.scale import Scale, span, tick_label, ticks, widened
from drawing.svg import COLORS, chart, extent, legend, number, tag, text

Points = Sequence[tuple[float, float | None]]
MOST_POINTS = 400  # of one line: more cannot be seen
SMALL = 200  # pixels: narrower pictures have fewer ticks


def lines(
    series: Mapping[str, Points], *, title: str, desc: str, x_label: str = "", y_label: str = "", width: float = 340,
    height: float = 230, log_x: bool = False, log_y: bool = False, x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
    from_zero: bool = False, thin: Iterable[str] = (), marks: Iterable[str] = (), rule: float | None = None,
) -> str:  # fmt: skip
    """One curve a name. A y of None (or no number, or none that a log axis has) is a gap.

    `thin`: names of noisy curves; `marks`: names whose points are dots as well; `rule`: an x that gets an upright line;
    `from_zero`: the y axis holds 0; `x_range`, `y_range`: the ends of an axis, instead of those that the points
    ask for.
    """
    shown = {name: [p for p in points if _drawn(p, log_x, log_y)] for name, points in series.items()}
    xs, ys = ([p[i] for points in shown.values() for p in points] for i in (0, 1))
    low, high = y_range or span([*ys, 0.0] if from_zero else ys, log_y)
    key, tall = legend(series, 8, 34, width - 16, "l") if len(series) > 1 else ([], 0.0)
    top = 24 + tall + (14 if y_label else 0)
    if not log_y and y_range is None:
        low, high = widened(low, high, 5 if height > 160 else 3)
    y = Scale(low, high, height - (36 if x_label else 22), top + 6, log_y)
    y_ticks = ticks(low, high, 5 if height > 160 else 3, log_y)
    left = 14 + max((extent(tick_label(v)) for v in y_ticks), default=0)
    x = Scale(*(x_range or span(xs, log_x)), left, width - 12, log_x)
    body = [*key, *axes(x, y, y_ticks, x_label)]
    if y_label:
        body.append(text(8, 34 + tall, y_label, "s"))
    if rule is not None and x.low <= rule <= x.high:
        body.append(_line(x(rule), y.start, x(rule), y.end, "zero"))
    for i, (name, points) in enumerate(shown.items()):
        klass = f"l{i % COLORS}" + " thin" * (name in thin)
        for piece in _pieces(series[name], points):
            body.append(tag("path", klass=klass, d=_path(x, y, thinned(piece))))
        if name in marks or len(points) == 1:
            for p in points:
                body.append(tag("circle", klass=f"f{i % COLORS}", cx=x(p[0]), cy=y(p[1]), r=2.6))
    return chart(width, height, title, desc, body)


def axes(x: Scale, y: Scale, y_ticks: Sequence[float], x_label: str) -> list[str]:
    """Grid, numbers and the name of the x axis."""
    parts = []
    for value in y_ticks:
        parts.append(_line(x.start, y(value), x.end, y(value), "grid"))
        parts.append(text(x.start - 5, y(value) + 4, tick_label(value), "s e"))
    most = max(2, int((x.end - x.start) / 52))
    at = -math.inf
    for value in ticks(x.low, x.high, most, x.log):
        words = tick_label(value)
        here = min(max(x(value), x.start), x.end)
        if here - extent(words) / 2 > at + 4:  # on a log axis they stand closer and closer
            parts.append(_line(here, y.start, here, y.start + 4, "zero"))
            parts.append(text(min(here, x.end + 10 - extent(words) / 2), y.start + 16, words, "s m"))
            at = here + extent(words) / 2
    parts.append(_line(x.start, y.start, x.end, y.start, "zero"))
    if x_label:
        parts.append(text((x.start + x.end) / 2, y.start + 31, x_label, "s m"))
    return parts


def reliability(
    points: Sequence[tuple[float, float, int]], *, title: str, desc: str, width: float = 340, height: float = 300
) -> str:
    """Dots of (confidence, share right, rows), the larger the more rows; on the diagonal both are the same."""
    rows = max((p[2] for p in points), default=1)
    low = min([0.5, *(min(p[0], p[1]) for p in points)])
    low = math.floor(low * 10 + 1e-9) / 10
    y, x = Scale(low, 1, height - 36, 44), Scale(low, 1, 44, width - 12)
    body = axes(x, y, ticks(low, 1, 5), "confidence: the answer's probability")
    body.append(text(8, 34, "share of right answers", "s"))
    body.append(tag("path", klass="l4 thin", stroke_dasharray="4 3", d=_path(x, y, [(low, low), (1, 1)])))
    for confidence, accuracy, count in points:
        size = 2.5 + 6.5 * math.sqrt(count / rows)
        body.append(tag("circle", klass="f0", cx=x(confidence), cy=y(accuracy), r=size, fill_opacity="0.75"))
    return chart(width, height, title, desc, body)


def thinned(points: Points, most: int = MOST_POINTS) -> Points:
    """At most about `most` points: of each stretch the lowest and the highest, so that no peak is lost."""
    if len(points) <= most:
        return points
    size = math.ceil(2 * len(points) / most)
    kept = [points[0]]
    for start in range(0, len(points), size):
        stretch = points[start : start + size]
        kept += sorted({min(stretch, key=lambda p: p[1]), max(stretch, key=lambda p: p[1])})
    return kept


def _drawn(point: tuple[float, float | None], log_x: bool, log_y: bool) -> bool:
    x, y = point
    if y is None or not (math.isfinite(x) and math.isfinite(y)):
        return False
    return (x > 0 or not log_x) and (y > 0 or not log_y)


def _pieces(points: Points, shown: Points) -> list[Points]:
    """The stretches between gaps."""
    kept, pieces, piece = set(shown), [], []
    for point in points:
        if point in kept:
            piece.append(point)
        elif piece:
            pieces.append(piece)
            piece = []
    return [p for p in (*pieces, piece) if len(p) > 1]


def _path(x: Scale, y: Scale, points: Points) -> str:
    return "M" + "L".join(f"{number(x(a))} {number(y(b))}" for a, b in points)


def _line(x1: float, y1: float, x2: float, y2: float, klass: str) -> str:
    return tag("line", klass=klass, x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2))

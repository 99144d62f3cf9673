"""Heat maps: a table whose cells are the darker the larger their number."""

from collections.abc import Callable, Sequence

from drawing.scale import short
from drawing.svg import chart, extent, fitted, number, tag, text

ROW = 22  # pixels


def _two(value: float | None) -> str:
    return short(value, 2)


def heat(
    rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float | None]], *, title: str, desc: str,
    corner: str = "", width: float = 340, form: Callable[[float | None], str] = _two, darkest: float | None = None,
) -> str:  # fmt: skip
    """`values[row][column]`, none of them below zero; None leaves a cell empty. `corner` names rows and columns.

    `darkest` has the full colour, and what is larger has it, too (default: the largest). The numbers stand in
    the cells while there is room for them.
    """
    most = darkest or max((v for row in values for v in row if v is not None), default=0) or 1
    left = 14 + min(max(map(extent, [*rows, corner]), default=0), 0.35 * width)
    wide = (width - left - 8) / max(1, len(columns))
    shown = [[form(v) if v is not None else "" for v in row] for row in values]
    fits = all(extent(cell) <= wide - 2 for row in shown for cell in row)
    top = 46
    body = [text(left - 6, top - 6, fitted(corner, left - 8), "s e")] if corner else []
    for j, name in enumerate(columns):
        body.append(text(left + (j + 0.5) * wide, top - 6, fitted(name, wide - 2), "s m"))
    for i, (name, row) in enumerate(zip(rows, values)):
        y = top + i * ROW
        body.append(text(left - 6, y + 15, fitted(name, left - 12), "e"))
        for j, value in enumerate(row):
            if value is not None:
                box = {"x": left + j * wide + 1, "y": float(y + 1), "width": wide - 2, "height": ROW - 2}
                body.append(tag("rect", klass="heat", **box, fill_opacity=_opacity(value / most)))
                if fits:
                    body.append(text(left + (j + 0.5) * wide, y + 15, shown[i][j], "m"))
    return chart(width, top + len(rows) * ROW + 8, title, desc, body)


def _opacity(share: float) -> str:
    return f"{0.04 + 0.96 * min(1.0, max(0.0, share)):.2f}" if share > 0 else number(0)

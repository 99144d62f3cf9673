"""Several pictures on one sheet, as one picture."""

import re
from collections.abc import Sequence

from drawing.svg import chart, inline

GAP = 8  # pixels


def sheet(pictures: Sequence[str], *, columns: int, title: str, desc: str) -> str:
    """Pictures in rows of `columns`, each as large as it is, under one title; `desc` says what all of them show."""
    sizes = [tuple(float(re.search(rf' {side}="([\d.]+)"', p)[1]) for side in ("width", "height")) for p in pictures]
    wide = max(width for width, _ in sizes) + GAP
    body, top = [], 30.0
    for start in range(0, len(pictures), columns):
        row = range(start, min(start + columns, len(pictures)))
        for place, i in enumerate(row):
            body.append(inline(pictures[i]).replace("<svg ", f'<svg x="{place * wide + GAP:g}" y="{top:g}" ', 1))
        top += max(sizes[i][1] for i in row) + GAP
    return chart(min(columns, len(pictures)) * wide + GAP, top, title, desc, body)

"""The same sections for a terminal: sentences and tables."""

import textwrap
import unicodedata
from collections.abc import Sequence

from drawing.page import Section, Table

MOST_ROWS = 40  # of one table: a screen


def plain(title: str, lead: str, sections: Sequence[Section], width: int = 100) -> str:
    """All that `page` shows, without its pictures; no line is much wider than `width`."""
    blocks = [printable(title), textwrap.fill(printable(lead), width)]
    for section in sections:
        blocks.append(f"{printable(section.title)}\n{'-' * len(section.title)}")
        blocks.append(textwrap.fill(printable(section.says), width))
        for part in section.parts:
            if (shown := part if isinstance(part, Table) else part.table) is not None:
                blocks.append(table(shown, width))
    return "\n\n".join(blocks) + "\n"


def table(asked: Table, width: int = 100) -> str:
    """Aligned columns; of a long table the first and the last rows, of a long cell its beginning."""
    rows = [[printable(cell) for cell in row] for row in asked.rows]
    if len(rows) > MOST_ROWS:
        half = MOST_ROWS // 2
        rows = [*rows[:half], ["..." for _ in asked.head], *rows[-half:]]
    lines = [[printable(cell) for cell in asked.head], *rows]
    wide = [max(_cells(line[c]) for line in lines) for c in range(len(asked.head))]
    while sum(wide) + 2 * (len(wide) - 1) > width and max(wide) > 8:
        wide[wide.index(max(wide))] -= 1
    told = []
    for line in lines:
        cells = [_padded(cell, size) for cell, size in zip(line, wide)]
        told.append("  ".join(cells).rstrip())
    return "\n".join([*([printable(asked.caption)] if asked.caption else []), *told])


def printable(words: str) -> str:
    """On one line, and nothing in it steers a terminal."""
    return "".join(c if c.isprintable() else " " for c in words)


def _cells(words: str) -> int:
    """Columns of a terminal that the words take."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in words)


def _padded(words: str, size: int) -> str:
    if _cells(words) > size:
        while words and _cells(words) > size - 1:
            words = words[:-1]
        words += "…"
    return words + " " * (size - _cells(words))

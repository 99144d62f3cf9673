"""Numbers in, pictures and pages out: SVG and HTML as text, and the same as plain tables.

The room computes nothing on models and imports nothing of the project, only the standard library.
"""

from drawing.bars import bars, stacked
from drawing.grid import heat
from drawing.lines import lines, reliability
from drawing.page import Figure, Section, Table, page
from drawing.plain import plain
from drawing.report import lead, sections, title
from drawing.sheet import sheet
from drawing.svg import inline
from drawing.tokens import strip

__all__ = [
    "Figure", "Section", "Table", "bars", "heat", "inline", "lead", "lines", "page", "plain", "reliability", "sections",
    "sheet", "stacked", "strip", "title",
]  # fmt: skip

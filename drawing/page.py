"""A page of sections in one HTML file that asks nobody for anything: no script, no font, no picture from elsewhere."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from drawing.svg import RULES, escape, inline, schemes
from drawing.tokens import CSS as TOKENS


@dataclass(frozen=True)
class Table:
    """Cells as they are shown. A column of numbers stands to the right."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    folded: bool = False  # on a page it opens by a click


@dataclass(frozen=True)
class Figure:
    """A picture (`lines`, `bars`, `strip`, ... gave it) and its numbers, for who would rather read them."""

    picture: str
    table: Table | None  # None: a table of the same section holds them
    wide: bool = False  # takes the whole line of a page
    note: str = ""  # a sentence below it


@dataclass(frozen=True)
class Section:
    """`says` is one plain sentence on what one sees; `name` is the section's address on the page."""

    name: str
    title: str
    says: str
    parts: list[Figure | Table] = field(default_factory=list)


POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
CSS = (
    schemes(":root")
    + ":root{color-scheme:light dark}*{box-sizing:border-box}body{margin:0 auto;padding:1rem;max-width:72rem;"
    "background:var(--paper);color:var(--ink);font:1rem/1.5 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;"
    "overflow-wrap:anywhere}h1{font-size:1.5rem;line-height:1.2}h2{font-size:1.2rem;margin:2.2rem 0 .2rem}a{color:"
    "var(--c0)}nav ul{display:flex;flex-wrap:wrap;gap:.2rem 1rem;padding:0;list-style:none}.says{margin:.2rem 0 .8rem;"
    "max-width:46rem}.figures{display:flex;flex-wrap:wrap;gap:1rem;align-items:flex-start}figure{margin:0;"
    "min-width:0}figure.wide{flex-basis:100%;max-width:100%}figure>svg{"
    "width:100%;height:auto}.chart{border:1px solid var(--grid);border-radius:4px}.note,figcaption,caption{color:"
    "var(--soft);font-size:.85rem;text-align:left}summary{color:var(--soft);font-size:.85rem;cursor:pointer}"
    ".scroll{overflow-x:auto;max-width:100%}table{overflow-wrap:break-word;"
    "border-collapse:collapse;font-size:.85rem;margin:.4rem 0}th,td{"
    "padding:.15rem .6rem .15rem 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--grid);"
    "min-width:2rem}"
    "th.n,td.n{text-align:right;white-space:nowrap;overflow-wrap:normal;font-variant-numeric:tabular-nums}"
    "th{font-weight:600}:focus-visible{outline:2px solid var(--c0);outline-offset:2px}" + RULES + TOKENS
)
_NUMBER = re.compile(r"([<>] )?[+-]?[\d,.]+(e[+-]?\d+)?( ?(%|B|kB|MB|GB|[kMGT]))?|-|")


def page(title: str, lead: str, sections: Sequence[Section]) -> str:
    """The whole document. `lead` is a sentence below the title."""
    links = "".join(f'<li><a href="#{escape(s.name)}">{escape(s.title)}</a></li>' for s in sections)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="color-scheme" content="light '
        f'dark"><title>{escape(title)}</title><style>{CSS}</style></head>\n<body><header><h1>{escape(title)}</h1>'
        f'<p class="says">{escape(lead)}</p><nav aria-label="Sections"><ul>{links}</ul></nav></header>\n<main>'
        + "\n".join(map(section, sections))
        + "</main></body></html>\n"
    )


def section(asked: Section) -> str:
    """One section as HTML; figures that follow each other share lines."""
    parts, figures = [], []
    for part in [*asked.parts, None]:
        if isinstance(part, Figure):
            figures.append(figure(part))
            continue
        if figures:
            parts.append(f'<div class="figures">{"".join(figures)}</div>')
            figures = []
        if part is not None:
            parts.append(folded(part) if part.folded else table(part))
    return (
        f'<section id="{escape(asked.name)}"><h2>{escape(asked.title)}</h2>'
        f'<p class="says">{escape(asked.says)}</p>{"".join(parts)}</section>'
    )


def figure(asked: Figure) -> str:
    size = re.match(r'<svg [^>]*?viewBox="0 0 ([\d.]+) ', asked.picture)
    room = 'class="wide"' if asked.wide or not size else f'style="flex:0 1 {size[1]}px"'
    note = f"<figcaption>{escape(asked.note)}</figcaption>" if asked.note else ""
    numbers = folded(asked.table) if asked.table else ""
    return f"<figure {room}>{inline(asked.picture)}{note}{numbers}</figure>"


def folded(asked: Table) -> str:
    return f"<details><summary>the numbers</summary>{table(asked)}</details>"


def table(asked: Table) -> str:
    columns = range(len(asked.head))
    right = [all(_NUMBER.fullmatch(row[c]) for row in asked.rows) for c in columns]
    klass = [' class="n"' if right[c] and asked.rows else "" for c in columns]
    head = "".join(f'<th scope="col"{klass[c]}>{escape(asked.head[c])}</th>' for c in columns)
    rows = "".join(f"<tr>{''.join(f'<td{klass[c]}>{escape(row[c])}</td>' for c in columns)}</tr>" for row in asked.rows)
    caption = f"<caption>{escape(asked.caption)}</caption>" if asked.caption else ""
    scroll = '<div class="scroll" tabindex="0" role="region" aria-label="table">'
    return f"{scroll}<table>{caption}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"

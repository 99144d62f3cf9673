"""SVG as text: a picture that stands alone as a file and follows the reader's light or dark.

Each picture carries its own style, its title and a description (the alt text). Text stays text.
"""

import re
import unicodedata
import zlib
from collections.abc import Iterable
from html import escape as _escape

# Text has a contrast of 4.5 and more on its paper, bars and lines of 3. c0 to c3 are apart for colour-blind readers,
# too, and lines differ in their dashes. --tint, --up and --down lie under text of the colour --ink.
LIGHT = {
    "paper": "#ffffff", "ink": "#1b1f24", "soft": "#59616c", "grid": "#dfe3e8",
    "c0": "#1b6ca8", "c1": "#c8530e", "c2": "#13967a", "c3": "#5d2a75", "c4": "#6b7280",
    "tint": "#69aee0", "up": "#f08c46", "down": "#69aee0",
}  # fmt: skip
DARK = {
    "paper": "#16191d", "ink": "#e8eaed", "soft": "#a8b0bc", "grid": "#353b43",
    "c0": "#5aa9e6", "c1": "#ff9d5c", "c2": "#3f9c7c", "c3": "#f0d0ff", "c4": "#a3abb8",
    "tint": "#21689b", "up": "#99501c", "down": "#21689b",
}  # fmt: skip
COLORS = 5  # c0 to c4
FONT = "system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans',sans-serif"
CHARACTER = 0.56  # of the font size: about the width of one


def variables(colors: dict[str, str]) -> str:
    """CSS variables of a scheme: `--ink:#1b1f24;...`."""
    return "".join(f"--{name}:{color};" for name, color in colors.items())


def schemes(selector: str) -> str:
    """CSS that gives `selector` the colours of the reader's scheme."""
    dark = f"@media (prefers-color-scheme:dark){{{selector}{{{variables(DARK)}}}}}"
    return f"{selector}{{{variables(LIGHT)}}}{dark}"


RULES = (  # of a picture, for what gives it the colours
    f".chart{{font:11px {FONT};max-width:100%;height:auto}}.chart text{{fill:var(--ink)}}"
    + ".chart .t{font-size:13px;font-weight:600}.chart .s{fill:var(--soft)}.chart .e{text-anchor:end}"
    + ".chart .m{text-anchor:middle}.chart .paper{fill:var(--paper)}.chart .grid{stroke:var(--grid)}"
    + ".chart .zero{stroke:var(--soft)}.chart .heat{fill:var(--tint)}.chart path{fill:none;stroke-width:1.8;"
    + "stroke-linejoin:round}.chart path.thin{stroke-width:1}"
    + "".join(f".chart .f{i}{{fill:var(--c{i})}}.chart .l{i}{{stroke:var(--c{i})}}" for i in range(COLORS))
    + ".chart .l1{stroke-dasharray:6 2}.chart .l2{stroke-dasharray:2 2}.chart .l3{stroke-dasharray:8 2 2 2}"
)
STYLE = schemes(".chart") + RULES


def escape(text: object) -> str:
    """Text as XML and HTML may hold it; what XML has no place for becomes U+FFFD."""
    return _escape(re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", str(text)))


def number(value: float) -> str:
    """A coordinate, to a tenth of a pixel."""
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def tag(name: str, content: str | None = None, **attributes: object) -> str:
    """An element. `content` is markup already; `klass` is class, `_` is -, numbers are rounded, None is left out."""
    words = [name]
    for key, value in attributes.items():
        if value is not None:
            shown = number(value) if isinstance(value, float) else escape(value)
            words.append(f'{"class" if key == "klass" else key.replace("_", "-")}="{shown}"')
    return f"<{' '.join(words)}/>" if content is None else f"<{' '.join(words)}>{content}</{name}>"


def text(x: float, y: float, words: object, klass: str | None = None) -> str:
    return tag("text", escape(words), x=float(x), y=float(y), klass=klass)


def chart(width: float, height: float, title: str, desc: str, body: Iterable[str]) -> str:
    """A whole picture: `title` stands on it, too; `desc` says in words what one sees."""
    key = f"{zlib.crc32(f'{title} {desc}'.encode('utf-8', 'replace')):08x}"
    parts = [
        tag("title", escape(title), id=f"t{key}"), tag("desc", escape(desc), id=f"d{key}"), f"<style>{STYLE}</style>",
        tag("rect", klass="paper", width=float(width), height=float(height), rx=4),
        text(8, 17, fitted(title, width - 16, 13), "t"), *body,
    ]  # fmt: skip
    return tag(
        "svg", "".join(parts), xmlns="http://www.w3.org/2000/svg", klass="chart", role="img",
        aria_labelledby=f"t{key} d{key}", viewBox=f"0 0 {number(width)} {number(height)}", width=float(width),
        height=float(height),
    )  # fmt: skip


def inline(picture: str) -> str:
    """A picture without its style, for a page that has RULES and the colours once."""
    return picture.replace(f"<style>{STYLE}</style>", "")


def extent(words: str, size: float = 11) -> float:
    """About how wide text is, in pixels."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in words) * CHARACTER * size


def fitted(words: str, room: float, size: float = 11) -> str:
    """Text cut to about `room` pixels."""
    words = " ".join(words.split())
    if extent(words, size) <= room:
        return words
    while words and extent(words + "…", size) > room:
        words = words[:-1]
    return words + "…"


def legend(names: Iterable[str], x: float, y: float, room: float, swatch: str = "f") -> tuple[list[str], float]:
    """Names with their colours, in as many lines as they need from x on; and the height of those lines.

    `swatch`: "f" a filled square, "l" a piece of line with its dashes.
    """
    parts, left, line = [], x, 0
    for i, name in enumerate(names):
        name = fitted(name, room - 24)
        wide = 20 + extent(name) + 10
        if left > x and left + wide > x + room:
            left, line = x, line + 1
        at = y + 15 * line
        if swatch == "f":
            parts.append(tag("rect", klass=f"f{i % COLORS}", x=left, y=at - 8, width=9, height=9))
        else:
            parts.append(tag("path", klass=f"l{i % COLORS}", d=f"M{number(left)} {number(at - 4)}h16"))
        parts.append(text(left + 20 if swatch == "l" else left + 13, at, name))
        left += wide
    return parts, 15.0 * (line + 1) if parts else 0.0

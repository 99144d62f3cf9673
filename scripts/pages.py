"""A small reader of the Markdown pages: fenced blocks with the marks above them, prose, headings and links.

A mark is a comment of one line right above a fence, or right above another mark. The pages use these:

    <!-- needs: peft -->          skipped where it is absent: a module, SMSSpamCollection, gpt2_tokenizer, or a path
                                  that commands of the page make (runs/tiny)
    <!-- not run: REASON -->      a bash block whose flags alone are checked, a python block that is a quotation
    <!-- exits with: 3 -->        a bash block whose last command must fail so
    <!-- measured -->             above an output: its numbers belong to one machine, its words do not; nor do
                                  counts from a thousand on, and shares by more than ten points
    <!-- illustration -->         a ```text block that is nothing's output
    <!-- renew: COMMAND -->       above a table, a ```text block or an indented one: scripts/renew_pages.py writes there
                                  what COMMAND prints; the n-th table with this mark is the n-th that it prints
    <!-- cited: 85, 91 -->        anywhere on a page: numbers that come from elsewhere (others' own, a rule's bound)
"""

import functools
import json
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXECUTABLE = ("python", "bash")
_COMMENT = re.compile(r"<!--\s*(.*?)\s*-->", re.DOTALL)
_SPAN = re.compile(r"(?<!`)(`+)(?!`)((?:(?!\n\n).)+?)(?<!`)\1(?!`)", re.DOTALL)
_LINK = re.compile(r"\]\(\s*([^)\s]+)(?:\s+\"[^\"]*\")?\s*\)")


def _blank(found: re.Match[str]) -> str:
    return "\n" * found[0].count("\n")


class PageError(ValueError):
    """A page that cannot be read."""

    exit_code = 3


@dataclass
class Block:
    language: str  # of a fenced block; `table` and `indented` are what else a renew mark may stand above
    text: str  # without the indentation
    line: int  # of its first line, counted from 1
    marks: dict[str, str] = field(default_factory=dict)  # {"needs": "peft", "illustration": ""}
    output: "Block | None" = None  # the ```text block that shows what this one prints
    indent: str = ""

    @property
    def runs(self) -> bool:
        """README's installation makes a virtual environment: .ci/run runs it on a fresh clone, the tests do not."""
        installs = self.language == "bash" and "-m venv" in self.text
        return self.language in EXECUTABLE and "not run" not in self.marks and not installs


@dataclass(frozen=True)
class Page:
    path: Path
    text: str

    @classmethod
    def read(cls, path: Path) -> "Page":
        """A Markdown file, or the Markdown cells of a notebook."""
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".ipynb":
            cells = json.loads(text)["cells"]
            text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
        return cls(path, text)

    @functools.cached_property
    def _parts(self) -> tuple[list[Block], list[str]]:
        """(the fenced blocks, all lines with those of fences and blocks blank)"""
        blocks, outside, inside, last = [], [], None, -1
        lines = self.text.splitlines()
        for number, line in enumerate(lines):
            fence = re.fullmatch(r"(\s*)```+(\w*)\s*", line)
            if fence and inside is None:
                marks, first = _marks_above(lines, number)
                inside = Block(fence[2], "", number + 2, marks, indent=fence[1])
                if blocks and inside.language == "text" and "illustration" not in inside.marks:
                    follows = not any(between.strip() for between in lines[last + 1 : first])
                    if follows and blocks[-1].language in EXECUTABLE:
                        blocks[-1].output = inside
                blocks.append(inside)
            elif fence:
                inside, last = None, number
            elif inside is not None:
                inside.text += line.removeprefix(inside.indent) + "\n"
            outside.append("" if fence or inside is not None else line)
        if inside is not None:
            raise PageError(f"{self.name}:{inside.line}: a fence is opened and never closed")
        return blocks, outside

    @property
    def name(self) -> str:
        return str(self.path.relative_to(ROOT)) if self.path.is_relative_to(ROOT) else self.path.name

    @property
    def blocks(self) -> list[Block]:
        return self._parts[0]

    @functools.cached_property
    def renewed(self) -> list[Block]:
        """What a renew mark stands above: tables, ```text blocks and indented ones."""
        fenced = {block.line - 2: block for block in self.blocks if block.language == "text"}
        lines, found = self._parts[1], []
        for number, line in enumerate(lines):
            if not re.match(r"\s*<!--\s*renew:", line):
                continue
            start = next((n for n in range(number, len(lines)) if not _COMMENT.fullmatch(lines[n].strip())), len(lines))
            block = fenced.get(start) or _table_or_indented(lines, start)
            if not block:
                raise PageError(f"{self.name}:{number + 1}: no table and no text stands right below this mark")
            found.append(block)
        return found

    @property
    def prose(self) -> str:
        """The text without blocks and comments, line for line."""
        return _COMMENT.sub(_blank, "\n".join(self._parts[1]))

    @property
    def words(self) -> str:
        """The prose without code spans and link targets, line for line."""
        return _LINK.sub("]", _SPAN.sub(_blank, self.prose))

    @property
    def spans(self) -> list[str]:
        return [" ".join(span[2].split()) for span in _SPAN.finditer(self.prose)]

    @property
    def cited(self) -> list[str]:
        """The numbers that the page says are others' own."""
        comments = [comment[1] for comment in _COMMENT.finditer(self.text)]
        lists = [comment.removeprefix("cited:") for comment in comments if comment.startswith("cited:")]
        return [number.strip() for one in lists for number in re.split(r",\s|;", one)]

    @property
    def anchors(self) -> set[str]:
        """What `page.md#anchor` can point to: GitHub's names of the headings, a second of the same name with -1."""
        seen: Counter[str] = Counter()
        names = set()
        for heading in re.findall(r"^#{1,6} +(.+?)\s*$", self.prose, re.MULTILINE):
            shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)  # of a link, its words
            name = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
            names.add(name if not seen[name] else f"{name}-{seen[name]}")
            seen[name] += 1
        return names

    @property
    def links(self) -> list[str]:
        """Targets of links and pictures, those to other sites left out."""
        targets = _LINK.findall(_SPAN.sub(_blank, self.prose))
        return [target for target in targets if not re.match(r"[a-z]+:", target)]


def _marks_above(lines: list[str], number: int) -> tuple[dict[str, str], int]:
    """(the marks right above a line, the number of the first one's line)"""
    marks = {}
    while number > 0 and (mark := _COMMENT.fullmatch(lines[number - 1].strip())):
        name, _, value = mark[1].partition(":")
        marks[name.strip()] = value.strip()
        number -= 1
    return marks, number


def _table_or_indented(lines: list[str], start: int) -> Block | None:
    """The Markdown table or the text indented by four that begins there."""
    kinds = {"table": ("|", ""), "indented": ("    ", "    ")}
    for kind, (beginning, indent) in kinds.items():
        end = start
        while end < len(lines) and (lines[end].startswith(beginning) or (indent and not lines[end].strip())):
            end += 1
        text = "\n".join(line.removeprefix(indent) for line in lines[start:end]).rstrip() + "\n"
        if start < end and lines[start].startswith(beginning):
            return Block(kind, text, start + 1, _marks_above(lines, start)[0], indent=indent)
    return None


def broken_links(page: Page) -> list[str]:
    """The links of a page that lead nowhere, each with the reason."""
    broken = []
    for link in page.links:
        file, _, anchor = link.partition("#")
        target = (page.path.parent / file).resolve() if file else page.path
        if not target.exists():
            broken.append(f"{link}: no such file")
        elif anchor and (target.suffix != ".md" or anchor not in Page.read(target).anchors):
            broken.append(f"{link}: no such heading")
    return broken


def pages() -> list[Page]:
    """README, the course and the notebook, the exercises' page and the other pages that these point to."""
    paths = [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *sorted((ROOT / "docs").glob("*.md")),
        *sorted((ROOT / "docs").glob("*.ipynb")),
    ]
    others = (
        ROOT / "exercises" / "README.md",
        ROOT / "assets" / "gpt2-tiny" / "README.md",
        ROOT / "benchmarks" / "speed" / "LOG.md",
    )
    return [Page.read(path) for path in (*paths, *(path for path in others if path.exists()))]

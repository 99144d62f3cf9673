"""A small reader of the Markdown pages: fenced blocks with the marks above them, prose, headings and links.

A mark is a comment on the lines right above a fence. The pages use these:

    <!-- needs: peft -->          skipped where it is absent: a module, SMSSpamCollection, gpt2_tokenizer, or a path
                                  that commands of the page make (runs/tiny)
    <!-- not run: REASON -->      a bash block whose flags alone are checked, a python block that is a quotation
    <!-- exits with: 3 -->        a bash block whose last command must fail so
    <!-- measured -->             above an output: its numbers belong to one machine, its words do not
    <!-- illustration -->         a ```text block that is nothing's output
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


@dataclass
class Block:
    language: str
    text: str
    line: int  # of its first line, counted from 1
    marks: dict[str, str] = field(default_factory=dict)  # {"needs": "peft", "illustration": ""}
    output: "Block | None" = None  # the ```text block that shows what this one prints

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
    def _parts(self) -> tuple[list[Block], str]:
        blocks, prose, inside, last = [], [], None, -1
        lines = self.text.splitlines()
        for number, line in enumerate(lines):
            fence = re.fullmatch(r"\s*```+(\w*)\s*", line)
            if fence and inside is None:
                inside = Block(fence[1], "", number + 2)
                first = number
                while first > 0 and (mark := re.fullmatch(_COMMENT, lines[first - 1].strip())):
                    name, _, value = mark[1].partition(":")
                    inside.marks[name.strip()] = value.strip()
                    first -= 1
                if blocks and inside.language == "text" and "illustration" not in inside.marks:
                    follows = not any(between.strip() for between in lines[last + 1 : first])
                    if follows and blocks[-1].language in EXECUTABLE:
                        blocks[-1].output = inside
                blocks.append(inside)
            elif fence:
                inside, last = None, number
            elif inside is not None:
                inside.text += line + "\n"
            prose.append("" if fence or inside is not None else line)
        if inside is not None:
            raise ValueError(f"{self.path.name}:{inside.line}: a fence is opened and never closed")
        text = "\n".join(prose)
        return blocks, _COMMENT.sub(_blank, text)

    @property
    def blocks(self) -> list[Block]:
        return self._parts[0]

    @property
    def prose(self) -> str:
        """The text without blocks and comments, line for line."""
        return self._parts[1]

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
    paths = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs").glob("*.ipynb"))]
    others = (ROOT / "exercises" / "README.md", ROOT / "assets" / "gpt2-tiny" / "README.md", ROOT / "benchmarks/LOG.md")
    return [Page.read(path) for path in (*paths, *(path for path in others if path.exists()))]

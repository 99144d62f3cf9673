"""Writes anew what the pages show: runs their blocks and puts what is printed under them.

    python scripts/renew_pages.py                    every page; that trains dozens of times
    python scripts/renew_pages.py docs/08-cost.md    one

A page's bash blocks run in order in a copy of the tree, then its python blocks, then the commands in marks
`<!-- renew: COMMAND -->` above its tables and texts (scripts/pages.py lists the marks); one that was a block of the
page does not run again. Where a page shows some lines of an output, or `...`, those lines are renewed and no others. A
page is written when all of it has run; where something fails, not at all. What cannot be renewed is listed, and so are
numbers in its prose that have moved: prose is yours. Pictures that the commands write into docs/images are taken over.
"""

import dataclasses
import itertools
import re
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts import page_runner  # noqa: E402
from scripts.page_figures import moved  # noqa: E402
from scripts.page_lines import renewed_lines  # noqa: E402
from scripts.pages import Block, Page, pages  # noqa: E402
from training.errors import UsageError, run_door  # noqa: E402
from training.files import write_atomically  # noqa: E402
from training.settings import option, parse  # noqa: E402

PICTURES = Path("docs/images")


@dataclass(frozen=True)
class RenewConfig:
    pages: tuple[str, ...] = option((), "Markdown files (default: all)", group="what", positional=True)

    def __post_init__(self) -> None:
        for page in self.pages:
            if not page.endswith(".md"):
                raise UsageError(f"{page}: not a Markdown page")


class NotRenewedError(ValueError):
    """Something on a page is as it was, and the lines above say what."""

    exit_code = 1


@dataclass
class Renewal:
    """The new lines of a page, by what they replace, and what could not be renewed."""

    edits: list[tuple[Block, list[str]]] = field(default_factory=list)
    complaints: list[tuple[int, str]] = field(default_factory=list)  # (line of the old page, what)

    def renew(self, block: Block, lines: list[str]) -> None:
        if lines != block.text.splitlines():
            self.edits.append((block, lines))


def main(config: RenewConfig) -> None:
    chosen = [Page.read(Path(path).resolve()) for path in config.pages] or pages()
    chosen = [page for page in chosen if page.path.suffix == ".md"]
    chosen = [page for page in chosen if page.renewed or any(block.runs for block in page.blocks)]  # reads all before
    failed = []
    for page in chosen:
        # a command that Ctrl-C has reached may be writing still
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
            page_runner.copy_tree(Path(directory))
            pictures = read_pictures(Path(directory))
            if not renew(page.path, Path(directory)):
                failed.append(page.name)
            take_over(read_pictures(Path(directory)), pictures)
    if failed:
        raise NotRenewedError(f"not all is renewed: {', '.join(failed)}")


def renew(path: Path, directory: Path) -> bool:
    """Run a page in `directory`, a copy of the tree, and write it; False if not all of it could be renewed."""
    page, found = Page.read(path), Renewal()
    with open(path, encoding="utf-8", newline="") as file:
        before = file.read()  # with its own line ends
    try:
        printed = run_blocks(page, directory, found)
        run_marks(page, directory, printed, found)
        if Page.read(path).text != page.text:
            raise NotRenewedError(f"{page.name}: was changed while its blocks ran")
    except NotRenewedError as error:
        say(f"{error}\n{page.name}: left as it was")
        return False
    after = apply(before, found.edits)
    if after != before:
        write_atomically(path, after)
    say(f"{page.name}: {'as it was' if after == before else 'written'}")
    for line, what in found.complaints:
        grown = sum(len(new) - block.text.count("\n") for block, new in found.edits if block.line < line)
        say(f"{page.name}:{line + grown}: {what}")
    for line, number in moved(page, Page.read(path)):
        say(f"{page.name}:{line}: quotes {number}, which moved")
    return not found.complaints


def read_pictures(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in sorted((directory / PICTURES).glob("*.svg"))}


def take_over(drawn: dict[str, str], before: dict[str, str]) -> None:
    """Write the pictures that the page's commands have drawn anew."""
    for name, picture in drawn.items():
        if picture != before.get(name):
            write_atomically(ROOT / PICTURES / name, picture)
            say(f"{PICTURES / name}: written")


def run_blocks(page: Page, directory: Path, found: Renewal) -> dict[str, str]:
    """Run the page's blocks and renew their outputs; what each bash block printed."""
    printed, ran = {}, set()
    bash = page_runner.bash_runs(page, directory)
    for run in itertools.chain(bash, page_runner.python_runs(page, directory, timeout=None)):
        finish(run)
        ran.add(run.block.line)
        if run.block.language == "bash":
            printed[run.block.text.strip()] = run.printed
        shown = run.block.output
        if shown and "renew" not in shown.marks:
            new, missing = renewed_output(run)
            found.renew(shown, new)
            old = shown.text.splitlines()
            found.complaints += [
                (shown.line + place, f"nothing printed looks like {old[place]!r}") for place in missing
            ]
            if not missing and with_output(run, new).complaint:
                found.complaints.append((shown.line, "more is printed than the page shows"))
    for block in page.blocks:
        if block.runs and block.line not in ran:
            say(f"{page.name}:{block.line}: skipped, needs {page_runner.absent(block, directory)}")
    return printed


def renewed_output(run: page_runner.Run) -> tuple[list[str], list[int]]:
    """(the lines under a block, the places of those that nothing printed looks like)"""
    shown, printed = run.block.output, run.printed.splitlines()
    if run.block.language == "python":
        if run.is_exact:
            return shown.text.splitlines(), []
        # a measured output may be some of the lines, any other is all of them
        if printed and "..." not in shown.text and "measured" not in shown.marks:
            return printed, []
    return renewed_lines(shown, run.printed)


def with_output(run: page_runner.Run, lines: list[str]) -> page_runner.Run:
    shown = dataclasses.replace(run.block.output, text="".join(f"{line}\n" for line in lines))
    return dataclasses.replace(run, block=dataclasses.replace(run.block, output=shown))


def run_marks(page: Page, directory: Path, printed: dict[str, str], found: Renewal) -> None:
    """Renew what the marks stand above; a command that was a block of the page has `printed` already."""
    tables_taken: Counter[str] = Counter()
    for block in page.renewed:
        command, where = block.marks["renew"], f"{page.name}:{block.line}"
        is_table = block.language == "table"
        number = tables_taken[command] if is_table else 0
        tables_taken[command] += is_table
        if need := page_runner.absent(block, directory):
            say(f"{where}: skipped, needs {need}")
            continue
        if command not in printed:
            start = time.monotonic()
            code, printed[command] = page_runner.run_commands(command, directory, timeout=None)
            finish(page_runner.Run(block, where, printed[command], time.monotonic() - start, code))
        texts = tables(printed[command]) if is_table else [printed[command].rstrip().splitlines()]
        if number < len(texts) and texts[number]:
            found.renew(block, texts[number])
        else:
            what = f"{len(texts)} tables" if is_table else "nothing"
            found.complaints.append((block.line, f"{command} prints {what}"))


def tables(printed: str) -> list[list[str]]:
    """The Markdown tables; each begins above its line of dashes, and a warning among its rows is left out."""
    rows = [line for line in printed.splitlines() if line.startswith("|")]
    heads = [at - 1 for at, row in enumerate(rows) if re.fullmatch(r"[|: -]*---[|: -]*", row)]
    return [rows[start:stop] for start, stop in zip(heads, [*heads[1:], len(rows)])]


def finish(run: page_runner.Run) -> None:
    """Say how long it took; NotRenewedError if it failed."""
    say(f"{run.where}: {run.seconds:.1f} s")
    if run.failure:
        raise NotRenewedError(run.failure)


def apply(text: str, edits: list[tuple[Block, list[str]]]) -> str:
    """The page with its new lines, each with the indentation and the line end of its block."""
    lines = text.splitlines(keepends=True)
    for block, new in sorted(edits, key=lambda edit: -edit[0].line):
        start, stop = block.line - 1, block.line - 1 + block.text.count("\n")
        above = lines[start - 1]  # the fence or the mark
        end = above[len(above.rstrip("\r\n")) :]
        at_the_end = stop == len(lines) and not lines[-1].endswith(end)
        lines[start:stop] = [(block.indent + line if line else "") + end for line in new]
        if at_the_end:
            lines[-1] = lines[-1].removesuffix(end)
    return "".join(lines)


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    words = {"prog": "scripts/renew_pages.py", "description": __doc__.split("\n\n")[0]}
    sys.exit(run_door(lambda: main(parse(RenewConfig, sys.argv[1:], **words))))

"""Runs the blocks of a page, and says where what they print is not what the page shows."""

import doctest
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scripts.page_lines import unmatched_lines
from scripts.pages import ROOT, Block, Page

_FILES = {"SMSSpamCollection": "SMS_SPAM_FILE", "gpt2_tokenizer": "GPT2_TOKENIZER_DIR"}  # found by the environment
_ENV = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
_ENV["OMP_WAIT_POLICY"] = "passive"  # moves no number; threads that spin take ten times as long on a busy machine


@dataclass(frozen=True)
class Run:
    """What came of a block."""

    block: Block
    where: str  # PAGE:LINE
    printed: str
    seconds: float
    code: int = 0  # a bash block's
    error: str = ""  # a python block's: the exception's name
    trace: str = ""

    @property
    def failure(self) -> str:
        """Why the page can show nothing of it, "" if it can: another end than the page says."""
        wanted = int(self.block.marks.get("exits with", 0))
        if self.code != wanted:
            return f"{self.where}: exit code {self.code}, not {wanted}\n{self.printed[-3000:]}"
        shown = self.block.output
        if self.error and not (shown and re.search(rf"^{re.escape(self.error)}\b", shown.text, re.MULTILINE)):
            return f"{self.where}: the block raises, and the page does not show it\n{self.trace}"
        return ""

    @property
    def complaint(self) -> str:
        """How it is not as shown, "" if it is."""
        shown = self.block.output
        if self.failure or not shown or (self.block.language == "python" and self.is_exact):
            return self.failure
        missing = unmatched_lines(shown, self.printed)
        if self.block.language == "bash" and missing:
            return f"{self.where}: not printed, or not in this order: {missing[0]!r}\n{self.printed[-6000:]}"
        if self.block.language == "python" and (missing or "measured" not in shown.marks):
            printed = f"{self.printed}\n{self.trace}"
            return f"{self.where}: the page shows\n{shown.text}\nand the block prints\n{printed}"
        return ""

    @property
    def is_exact(self) -> bool:
        """Whether the page shows all that was printed, as it was printed; `...` stands for anything."""
        return doctest.OutputChecker().check_output(self.block.output.text, self.printed, doctest.ELLIPSIS)


def run_python(page: Page, directory: Path = ROOT) -> list[str]:
    """Paste the page's python blocks, first to last, into one interpreter; the complaints, none if all is as shown."""
    return [run.complaint for run in python_runs(page, directory) if run.complaint]


def run_bash(page: Page, directory: Path) -> list[str]:
    """Run the page's bash blocks in order in `directory`, a copy of the tree; then python blocks that use theirs."""
    complaints = [run.complaint for run in bash_runs(page, directory, timeout=900) if run.complaint]
    if any("/" in need for block in page.blocks if block.language == "python" for need in needs(block)):
        complaints += run_python(page, directory)
    return complaints


def python_runs(page: Page, directory: Path, timeout: float | None = 300) -> Iterator[Run]:
    """The page's python blocks, pasted into one interpreter; one run with an exit code if its process has died."""
    blocks = [block for block in page.blocks if block.language == "python" and block.runs]
    blocks = [block for block in blocks if not absent(block, directory)]
    if not blocks:
        return
    job = json.dumps([[block.text, page.name, block.line] for block in blocks])
    script = str(Path(__file__).with_name("page_namespace.py"))
    done = subprocess.run(
        [sys.executable, script], input=job, cwd=directory, env={**os.environ, **_ENV},
        capture_output=True, text=True, timeout=timeout,
    )  # fmt: skip
    if done.returncode:
        yield Run(blocks[0], page.name, done.stderr, 0, code=done.returncode)
        return
    for block, result in zip(blocks, json.loads(done.stdout.splitlines()[-1])):
        yield Run(block, f"{page.name}:{block.line}", **result)


def bash_runs(page: Page, directory: Path, timeout: float | None = None) -> Iterator[Run]:
    """The page's bash blocks, each run when it is asked for."""
    for block in page.blocks:
        if block.language == "bash" and block.runs and not absent(block, directory):
            start = time.monotonic()
            code, printed = run_commands(block.text, directory, timeout)
            yield Run(block, f"{page.name}:{block.line}", printed, time.monotonic() - start, code)


def run_commands(commands: str, directory: Path, timeout: float | None = 900) -> tuple[int, str]:
    """(exit code, standard output and error together) of a bash block; `python` is the one that runs the tests."""
    script = f'python() {{ {shlex.quote(sys.executable)} "$@"; }}\nset -eo pipefail\n{commands}'
    done = subprocess.run(
        ["bash", "-c", script], cwd=directory, env={**os.environ, **_ENV}, timeout=timeout,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    return done.returncode, done.stdout


def absent(block: Block, directory: Path) -> str:
    """What the block needs and is not here, "" if all is."""
    for need in needs(block):
        if need in _FILES:
            here = os.path.exists(os.environ.get(_FILES[need], ""))
        elif "/" in need:  # what the page's own commands have made; the reader's runs/ are her own
            here = directory != ROOT and (directory / need).exists()
        else:
            here = importlib.util.find_spec(need) is not None
        if not here:
            return need
    return ""


def needs(block: Block) -> list[str]:
    return [need.strip() for need in block.marks.get("needs", "").split(",") if need.strip()]


def copy_tree(directory: Path) -> None:
    """The files that git tracks or would, and the files that the environment names."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, directory / name)
    for name, variable in _FILES.items():
        if os.path.exists(os.environ.get(variable, "")):
            (directory / name).symlink_to(Path(os.environ[variable]).resolve())

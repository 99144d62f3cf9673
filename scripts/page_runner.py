"""Runs the blocks of a page and says where what they print is not what the page shows."""

import doctest
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from scripts.pages import ROOT, Block, Page

_FILES = {"SMSSpamCollection": "SMS_SPAM_FILE", "gpt2_tokenizer": "GPT2_TOKENIZER_DIR"}  # found by the environment
_ENV = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
_NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]\d+)?")


def run_python(page: Page, directory: Path = ROOT, seed: str = "0") -> list[str]:
    """Run the page's python blocks from first to last in one namespace; the complaints, none if all is as shown.

    Without a `seed` torch is not imported, which takes longer than most blocks.
    """
    blocks = [block for block in page.blocks if block.language == "python" and block.runs]
    blocks = [block for block in blocks if not absent(block, directory)]
    if not blocks:
        return []
    job = json.dumps([[block.text, _name(page), block.line] for block in blocks])
    script = str(Path(__file__).with_name("page_namespace.py"))
    done = subprocess.run(
        [sys.executable, script, seed], input=job, cwd=directory, env={**os.environ, **_ENV, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    if done.returncode:
        return [f"{_name(page)}: the process ended with {done.returncode}\n{done.stderr}"]
    return [
        complaint
        for block, (printed, trace) in zip(blocks, json.loads(done.stdout.splitlines()[-1]))
        if (complaint := _judge(block, printed, trace, f"{_name(page)}:{block.line}"))
    ]


def _judge(block: Block, printed: str, trace: str, where: str) -> str:
    shown = block.output
    if trace and shown is None:
        return f"{where}: the block raises, and the page does not show it\n{trace}"
    if shown is None:
        return ""
    same = doctest.OutputChecker().check_output(shown.text, printed, doctest.ELLIPSIS)
    if not same and "measured" in shown.marks:
        same = not unmatched_lines(shown, printed)
    return "" if same else f"{where}: the page shows\n{shown.text}\nand the block prints\n{printed}\n{trace}"


def run_bash(page: Page, directory: Path) -> list[str]:
    """Run the page's bash blocks in order in `directory`, a copy of the tree; then python blocks that use theirs."""
    complaints = []
    for block in page.blocks:
        if block.language != "bash" or not block.runs or absent(block, directory):
            continue
        where = f"{_name(page)}:{block.line}"
        code, printed = run_commands(block.text, directory)
        wanted = int(block.marks.get("exits with", 0))
        if code != wanted:
            complaints.append(f"{where}: exit code {code}, not {wanted}\n{printed[-3000:]}")
        elif block.output and (missing := unmatched_lines(block.output, printed)):
            complaints.append(f"{where}: not printed, or not in this order: {missing[0]!r}\n{printed[-6000:]}")
    if any("/" in need for block in page.blocks if block.language == "python" for need in _needs(block)):
        complaints += run_python(page, directory)
    return complaints


def run_commands(commands: str, directory: Path) -> tuple[int, str]:
    """(exit code, standard output and error together) of a bash block; `python` is the one that runs the tests."""
    script = f'python() {{ {shlex.quote(sys.executable)} "$@"; }}\nset -eo pipefail\n{commands}'
    done = subprocess.run(
        ["bash", "-c", script], cwd=directory, env={**os.environ, **_ENV}, timeout=900,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    return done.returncode, done.stdout


def unmatched_lines(shown: Block, printed: str) -> list[str]:
    """The lines shown that do not occur, each after the one before, among the lines printed.

    `...` stands for anything; under `<!-- measured -->` a number stands for any number and blanks for any blanks.
    """
    lines = [line.rstrip() for line in re.split(r"[\r\n]+", printed)]
    missing = []
    for line in filter(None, map(str.rstrip, shown.text.splitlines())):
        pattern = _pattern(line, measured="measured" in shown.marks)
        at = next((i for i, candidate in enumerate(lines) if pattern.fullmatch(candidate)), None)
        if at is None:
            missing.append(line)
        else:
            lines = lines[at + 1 :]
    return missing


def _pattern(line: str, measured: bool) -> re.Pattern[str]:
    parts = []
    for part in line.split("..."):
        words = re.split(r"-?" + _NUMBER.pattern, part) if measured else [part]
        literal = [re.sub(r"(?:\\ )+", r"\\s*" if measured else r" +", re.escape(word)) for word in words]
        parts.append(rf"\s*-?{_NUMBER.pattern}\s*".join(literal))
    return re.compile(".*".join(parts))


def absent(block: Block, directory: Path) -> str:
    """What the block needs and is not here, "" if all is."""
    for need in _needs(block):
        if need in _FILES:
            here = os.path.exists(os.environ.get(_FILES[need], ""))
        elif "/" in need:  # what the page's own commands have made; the reader's runs/ are her own
            here = directory != ROOT and (directory / need).exists()
        else:
            here = importlib.util.find_spec(need) is not None
        if not here:
            return need
    return ""


def _needs(block: Block) -> list[str]:
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


def _name(page: Page) -> str:
    return str(page.path.relative_to(ROOT)) if page.path.is_relative_to(ROOT) else page.path.name

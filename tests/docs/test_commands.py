"""The commands of README and the course, in a copy of the tree; of those not run, that their flags are right."""

import functools
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import infer
import train
from scripts.page_runner import copy_tree, run_bash
from scripts.pages import ROOT, Page, pages
from training.errors import UsageError
from training.settings import parse

PAGES = [page for page in pages() if page.path.suffix == ".md"]
COMMANDED = [page for page in PAGES if any(block.language == "bash" and block.runs for block in page.blocks)]


def name(page: Page) -> str:
    return str(page.path.relative_to(ROOT))


@pytest.mark.slow
@pytest.mark.parametrize("page", COMMANDED, ids=name)
def test_commands_print_what_the_page_shows(page):
    with tempfile.TemporaryDirectory() as directory:
        copy_tree(Path(directory))
        complaints = run_bash(page, Path(directory))
    if complaints:
        pytest.fail("\n\n".join(complaints), pytrace=False)


def mentioned(page: Page) -> list[str]:
    """Commands that the tests do not run: of blocks that say so, of renew marks, and in the middle of a sentence."""
    blocks = [b.text for b in page.blocks if b.language == "bash" and not b.runs]
    run = {b.text.strip() for b in page.blocks if b.runs}
    blocks += [block.marks["renew"] for block in page.renewed if block.marks["renew"] not in run]
    lines = [line for text in blocks for line in text.replace("\\\n", " ").splitlines()]
    return [
        line for line in (*lines, *page.spans) if re.match(r"python [\w/]+\.py\b|python -m (lora|exercises)\b", line)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_flags_of_commands_that_are_not_run_exist(page):
    refused = {command: why for command in mentioned(page) if (why := refusal(command))}
    assert not refused


def refusal(command: str) -> str | None:
    """Why a command would not start, None if it would. Of train.py and infer.py the values are checked as well."""
    words = shlex.split(command.split(" > ")[0].split(" | ")[0], comments=True)[1:]
    door, arguments = (words[:2], words[2:]) if words[0] == "-m" else (words[:1], words[1:])
    flags_alone = {"--help", "--resume_from_checkpoint"} & {*arguments}  # one ends the process, one wants its run
    try:
        if door == ["train.py"] and not flags_alone:
            train.read_settings(arguments)
        elif door == ["infer.py"]:
            parse(infer.InferConfig, arguments, prog="infer.py", description="")
        else:
            known = help_of(*door)
            unknown = [w for w in arguments if w.startswith("--") and w.split("=")[0] not in known]
            return f"{' '.join(unknown)} is not in its --help all" if unknown else None
    except UsageError as error:
        return str(error)
    return None


@functools.cache
def help_of(*door: str) -> set[str]:
    """All flags in what `python DOOR --help all` prints."""
    done = subprocess.run(
        [sys.executable, *door, "--help", "all"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return {"--help", *re.findall(r"--[\w-]+", done.stdout)}


def test_a_wrong_flag_on_a_page_is_found():
    assert refusal("python train.py --preset seed --lora_rank 8").startswith("unknown flag --lora_rank")
    assert refusal("python train.py --split seeds") and refusal("python train.py --preset sed")
    assert refusal("python train.py --preset seed > log.txt") is None
    assert refusal("python train.py --help") is None and refusal("python train.py --help --sed 1")
    assert refusal("python infer.py --adaptor runs/tiny/adapter 'free prize'").startswith("unknown flag --adaptor")


def test_the_commands_of_blocks_that_do_not_run_of_renew_marks_and_of_sentences_are_looked_at(page):
    text = """
        `python train.py --one`

        <!-- not run: why -->
        FENCEbash
        python train.py --two
        FENCE

        <!-- renew: python train.py --three -->
        | a |

        FENCEbash
        python train.py --run
        FENCE

        <!-- renew: python train.py --run -->
        | a |
    """
    assert sorted(mentioned(page(text))) == [f"python train.py --{flag}" for flag in ("one", "three", "two")]

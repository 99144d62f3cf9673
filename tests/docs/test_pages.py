"""README and the course show what happens: their python blocks run, links lead somewhere, numbers are printed."""

import re

import pytest

from scripts.page_figures import unprinted
from scripts.page_runner import run_python
from scripts.pages import ROOT, Page, broken_links, pages

PAGES = pages()
WRITTEN = (ROOT, ROOT / "docs", ROOT / "exercises")  # not the log and the model card, which show nothing that runs
TEXTS = [page for page in PAGES if page.path.suffix == ".md" and page.path.parent in WRITTEN]
COURSE = [page for page in PAGES if re.fullmatch(r"\d\d-.*\.md", page.path.name)]
TOO_SLOW_FOR_PLAIN: set[str] = set()  # pages whose python blocks take more than ten seconds


def name(page: Page) -> str:
    return str(page.path.relative_to(ROOT))


def with_python() -> list:
    slow = [pytest.mark.slow]
    chosen = [page for page in PAGES if any(block.language == "python" and block.runs for block in page.blocks)]
    return [pytest.param(p, id=name(p), marks=slow if name(p) in TOO_SLOW_FOR_PLAIN else []) for p in chosen]


@pytest.mark.parametrize("page", with_python())
def test_python_blocks_print_what_the_page_shows(page):
    complaints = run_python(page)
    if complaints:
        pytest.fail("\n\n".join(complaints), pytrace=False)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_and_pictures_are_there(page):
    broken = broken_links(page)
    assert not broken, broken


@pytest.mark.parametrize("page", TEXTS, ids=name)
def test_numbers_in_prose_are_printed_on_the_page_or_cited(page):
    missing = unprinted(page)
    assert not missing, f"{missing}: print them on the page, or say that they come from elsewhere: <!-- cited: ... -->"


@pytest.mark.parametrize("page", TEXTS, ids=name)
def test_blocks_say_what_they_are(page):
    outputs = [block.output for block in page.blocks if block.output]
    for block in page.blocks:
        where = f"{name(page)}:{block.line}"
        assert block.language, f"{where}: a fence without a language"
        is_output = any(block is output for output in outputs)
        assert block.language != "text" or is_output or {"illustration", "renew"} & {*block.marks}, (
            f"{where}: nothing's output; put it under the block that prints it, or mark it <!-- illustration -->"
        )


@pytest.mark.parametrize("page", COURSE, ids=name)
def test_a_chapter_asks_for_a_prediction_first_and_ends_with_a_check(page):
    opening = page.prose.split("\n## ")[0]
    assert "**Prediction" in opening, "a chapter opens with a question to answer before running anything"
    ending = page.prose.rpartition("Check yourself")
    assert ending[0] and "](" in ending[2], "a chapter ends with 'Check yourself': its exercises and the next chapter"


@pytest.mark.parametrize("page", COURSE, ids=name)
def test_a_chapter_is_read_in_ten_minutes(page):
    assert len(page.prose.split()) <= 1_800


def test_the_questions_each_have_an_answer_of_their_own_and_a_place_to_look():
    path = ROOT / "docs" / "questions.md"
    answers = numbered_answers(Page.read(path))
    assert sorted(answers) == list(range(1, 42))
    for number, answer in answers.items():
        words = re.sub(r"\[[^\]]*\]\([^)]*\)", "", answer).split()
        assert len(words) >= 8 and "](" in answer, f"question {number} has no answer with a link"
    assert len(set(answers.values())) == len(answers)


def numbered_answers(page: Page) -> dict[int, str]:
    """number -> what stands between that question and the next; a question is a line `**7. Why?**` or `### 7. Why?`."""
    parts = re.split(r"^(?:#+ |\*\*)(\d+)\. .*$", page.prose, flags=re.MULTILINE)
    answers = [re.sub(r"^#.*$", "", answer, flags=re.MULTILINE) for answer in parts[2::2]]  # headings of groups
    return {int(number): " ".join(answer.split()) for number, answer in zip(parts[1::2], answers)}

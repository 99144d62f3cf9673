"""One thought a sentence: how long the sentences of README and the course are, and how wide their code."""

import re

import pytest

from scripts.pages import EXECUTABLE, ROOT, Page, pages

READ = [p for p in pages() if p.path.suffix == ".md" and p.path.parent in (ROOT, ROOT / "docs")]
LONG_SENTENCE, LONG_SHARE = 30, 0.05  # words; of all sentences
WIDE_CODE = 88  # characters: what a reader sees beside the page without scrolling


def sentences(page: Page) -> list[str]:
    """The sentences of a page's paragraphs and list items; a code span is a word, a picture's text is none."""
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", page.prose)
    text = re.sub(r"(`+)(?:(?!\n\n).)+?\1", "CODE", text, flags=re.DOTALL)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"^(#|\s*\|).*$", "", text, flags=re.MULTILINE)  # headings and tables
    text = re.sub(r"^\s*(?:[-*]|\d+\.) ", "\n\n", text, flags=re.MULTILINE)
    found = []
    for paragraph in re.split(r"\n\s*\n", text):
        found += re.split(r"(?<=[.!?])[\")*]*\s+(?=[\"(*]*[A-Z0-9])", " ".join(paragraph.split()))
    return [sentence for sentence in found if sentence]


def long_sentences(page: Page) -> list[str]:
    return [s for s in sentences(page) if len(re.findall(r"[\w'-]+(?:[.,/]\w+)*", s)) > LONG_SENTENCE]


def wide_lines(page: Page) -> list[str]:
    return [
        f"{page.name}:{block.line + number}: {len(line)} characters"
        for block in page.blocks
        if block.language in EXECUTABLE
        for number, line in enumerate(block.text.splitlines())
        if len(line) > WIDE_CODE
    ]


@pytest.mark.parametrize("page", READ, ids=lambda page: page.name)
def test_few_sentences_of_a_page_are_long(page):
    found = long_sentences(page)
    assert len(found) <= LONG_SHARE * len(sentences(page)), "\n".join(found)


@pytest.mark.parametrize("page", READ, ids=lambda page: page.name)
def test_code_is_no_wider_than_a_page(page):
    assert wide_lines(page) == []


SAMPLE = """
    # A heading of {many} words is none

    Short. {many} (Here `code with many words` is one word.) {few} e.g. this
    goes on: it is one sentence.

    | a table | {many} |

    - {many}
    - {few}

    ![{many}](a.svg)

    FENCEpython
    {code}
    FENCE
"""


def test_sentences_are_told_apart_and_code_is_measured(page):
    many, few = " ".join(["Word"] + 30 * ["word"]) + ".", " ".join(["Word"] + 20 * ["word"]) + "."
    found = page(SAMPLE.format(many=many, few=few, code="x" * 88))
    assert sentences(found)[0] == "Short." and sentences(found)[-1] == few
    assert long_sentences(found) == [many, many] and len(sentences(found)) == 6
    assert wide_lines(found) == [] and len(wide_lines(page(SAMPLE.format(many=many, few=few, code="x" * 89)))) == 1

"""Every chapter has a picture, every picture is told in words too, and the page to play with stands alone."""

import re

import pytest

from scripts.pages import ROOT, Page, pages

PAGES = [page for page in pages() if page.path.suffix == ".md"]
COURSE = [page for page in PAGES if re.fullmatch(r"\d\d-.*\.md", page.path.name)]
PICTURE = re.compile(r"!\[([^\]]*)\]\(([^)]+)\)")


@pytest.mark.parametrize("page", COURSE, ids=lambda page: page.path.name)
def test_every_chapter_has_a_picture(page: Page):
    assert PICTURE.search(page.prose)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.path.relative_to(ROOT)))
def test_every_picture_is_told_in_words(page: Page):
    told = {target: words for words, target in PICTURE.findall(page.prose)}
    assert [target for target, words in told.items() if len(words.split()) < 5] == []


def test_every_picture_is_drawn_by_a_script_that_a_page_or_the_script_itself_names():
    commands = "\n".join(page.text for page in PAGES)
    commands += "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "scripts").glob("*.py"))
    drawn = {path.name for path in (ROOT / "docs" / "images").glob("*.svg")}
    assert {name for name in drawn if f"docs/images/{name}" not in commands} <= {"headline.svg"}
    assert "headline.svg docs/images/" in commands


def test_the_page_of_the_plane_needs_nothing_but_itself():
    text = (ROOT / "docs" / "plane.html").read_text(encoding="utf-8")
    loads = re.findall(r'(?:src|href)="([^"]+)"|url\(([^)]+)\)|\b(?:import|fetch)\b.*', text)
    assert loads == [("01-rank-one.md", "")]
    assert "width=device-width" in text and "prefers-color-scheme: dark" in text
    assert text.count('tabindex="0"') == 2 and "keydown" in text

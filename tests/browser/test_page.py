"""A report in Chromium: it is readable everywhere, says what its pictures show, and asks nobody for anything."""

import pytest

import drawing
from tests.drawing import reports

pytestmark = pytest.mark.slow
KINDS = {"classifier": reports.classifier, "writer": reports.writer, "many labels": lambda: reports.many_labels(9)}


@pytest.fixture(scope="module", params=KINDS)
def address(request, tmp_path_factory) -> str:
    report = KINDS[request.param]()
    path = tmp_path_factory.mktemp("report") / "report.html"
    page = drawing.page(drawing.title(report), drawing.lead(report), drawing.sections(report))
    path.write_text(page, encoding="utf-8")
    return path.as_uri()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_report_is_readable_light_and_dark_on_a_telephone_and_on_a_desk(browser, faint, address, dark):
    browser.open(address, dark=dark)
    browser.run("for (const e of document.querySelectorAll('details')) e.open = true")
    for width in (1100, 360):
        browser.size(width)
        assert browser.too_wide() <= 0, width
        assert faint("body") == [], width
    ground = browser.run("return getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(22, 25, 29)") == dark


def test_a_report_asks_nobody_and_the_console_is_silent(browser, address):
    browser.open(address)
    browser.css("nav a")[-1].click()
    assert browser.requests() == [address]
    assert browser.complaints() == []


def test_every_picture_has_an_alt_text(browser, address):
    browser.open(address)
    pictures = browser.css("svg, .tokens")
    assert len(pictures) > 5
    for picture in pictures:
        assert picture.get_attribute("role") in ("img", "group") and len(picture.accessible_name) > 20


def test_a_picture_alone_is_a_file_that_a_browser_shows(browser, tmp_path):
    picture = drawing.bars([("a <b>", [1.0])], title="A & B", desc="one bar")
    (tmp_path / "picture.svg").write_text(picture, encoding="utf-8")
    browser.open((tmp_path / "picture.svg").as_uri())
    assert browser.run("return document.documentElement.tagName") == "svg" and browser.complaints() == []
    assert browser.run("return getComputedStyle(document.querySelector('.f0')).fill") == "rgb(27, 108, 168)"

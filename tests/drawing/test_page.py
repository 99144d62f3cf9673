"""The page around the pictures, and the same as plain text."""

from html.parser import HTMLParser

import pytest

from drawing import Figure, Section, Table, bars, page, plain, strip
from drawing.tokens import seen

NASTY = "<img src=x onerror=alert(1)>\"'&\x1b[31m\x00"


class Tags(HTMLParser):
    """All tags with their attributes, and whether each that was opened was closed."""

    VOID = {"meta", "img", "br", "link", "rect", "line", "path", "circle"}

    def __init__(self, text):
        super().__init__()
        self.found, self.open = [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


def sections(words: str) -> list[Section]:
    table = Table([words, "share"], [[words, "1.5 %"], [words, "-"]], words)
    picture = bars([(words, [1.0])], title=words, desc=words)
    tokens = strip([words], [0.5], desc=words, notes=[words])
    return [Section("one", words, words, [Figure(picture, table), Figure(tokens, table, wide=True), table])]


@pytest.mark.parametrize("words", ["plain words", NASTY])
def test_a_page_is_well_formed_and_asks_nobody_for_anything(words):
    html = page(words, words, sections(words))
    tags = Tags(html).found
    assert not {tag for tag, _ in tags} & {"script", "img", "link", "iframe", "object", "embed", "base", "form"}
    for _, attributes in tags:
        assert not [name for name in attributes if name.startswith("on") or name == "src"]
        assert attributes.get("href", "#").startswith("#")
    assert "url(" not in html and "@import" not in html
    assert [a["content"] for _, a in tags if a.get("http-equiv") == "Content-Security-Policy"][0].startswith(
        "default-src 'none'"
    )


def test_a_page_has_the_style_of_pictures_once():
    assert page("t", "l", sections("w") * 5).count(".chart .paper") == 1


def test_each_section_opens_with_its_sentence_and_each_picture_has_its_numbers():
    html = page("t", "l", sections("what one sees"))
    assert '<p class="says">what one sees</p>' in html
    assert html.count("<details>") == html.count("<figure") == 2


def test_the_plain_form_holds_the_same_numbers_and_no_control_characters():
    text = plain("t", "l", sections(NASTY))
    assert text.count("1.5 %") == 3  # of two pictures and a table
    assert "\x1b" not in text and "\x00" not in text


def test_a_plain_table_fits_and_says_what_it_leaves_out():
    rows = [[str(i), "a very long text " * 20] for i in range(500)]
    lines = plain("t", "l", [Section("s", "s", "s", [Table(["row", "text"], rows)])], width=80).splitlines()
    assert max(map(len, lines)) <= 80 and len(lines) < 60
    assert any(line.startswith("...") for line in lines)


def test_tokens_are_coloured_by_sign_and_size_and_invisible_ones_are_seen():
    html = strip([" you", "\n", "won", "x"], [2.0, -1.0, 0.0, None], desc="d", read=1)
    assert html.count("token up") == 1 and 'token down read" style="--a:0.50"' in html
    assert ">·you<" in html and ">⏎<" in html
    assert seen("\u202e") == "\ufffd" and seen("") == "\ufffd"

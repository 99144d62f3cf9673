"""Small pages to try the machinery on."""

from textwrap import dedent

import pytest

from scripts.pages import Page


@pytest.fixture
def page(tmp_path):
    """Text -> Page, with FENCE for three backticks."""

    def write(text: str, name: str = "page.md") -> Page:
        (tmp_path / name).write_text(dedent(text).replace("FENCE", "```"), encoding="utf-8")
        return Page.read(tmp_path / name)

    return write

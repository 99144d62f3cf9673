"""Corpora of a few kilobytes, and the scripts where they find each other."""

from pathlib import Path

import pytest

from tests.scripts.loading import SCRIPTS

BOOK = "\n".join(
    f"The {a} {b} went to the {c}." for a in ("old", "new", "red") for b in ("cat", "dog") for c in ("sea", "sun")
)


@pytest.fixture(autouse=True)
def scripts_on_the_path(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("books")
    (directory / "a.txt").write_text(
        "\n<|endoftext|>\n".join(f"{BOOK}\nChapter {i}." for i in range(8)), encoding="utf-8"
    )
    return directory


@pytest.fixture(scope="session")
def talk(tmp_path_factory) -> Path:
    """A second directory, with two files of different sizes."""
    directory = tmp_path_factory.mktemp("talk")
    for name, times in (("chat", 8), ("calls", 16)):
        lines = [f"hi, can you call me at {hour}? ok, see you then" for hour in range(times)]
        (directory / f"{name}.txt").write_text("\n<|endoftext|>\n".join(lines), encoding="utf-8")
    return directory

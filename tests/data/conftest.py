"""Shared by the tests of data/."""

import pytest

from data import Source, read_rows


@pytest.fixture
def read(tmp_path):
    """Write bytes or text to a file of the given name and read it: a list of (label, text)."""

    def read(name: str, content: str | bytes, **columns) -> list[tuple[str | None, str]]:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return [(row.label, row.text) for row in read_rows(Source(str(path), **columns))]

    return read

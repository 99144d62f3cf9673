"""docs/course.ipynb runs from top to bottom wherever it is opened, and prints what it is kept with."""

import json
from pathlib import Path

import pytest

from scripts.page_lines import unmatched_lines
from scripts.pages import ROOT, Block
from scripts.renew_notebook import NOTEBOOK, executed

CELLS = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]


def printed(cell: dict) -> str:
    return "".join("".join(output.get("text", "")) for output in cell.get("outputs", []))


def pictures(cell: dict) -> list[str]:
    return [kind for output in cell.get("outputs", []) for kind in output.get("data", {}) if kind == "image/png"]


@pytest.mark.slow
@pytest.mark.parametrize("directory", [ROOT, ROOT / "docs"], ids=["from the repository", "from docs"])
def test_the_notebook_prints_what_it_is_kept_with(directory: Path):
    pytest.importorskip("nbclient", reason="needs pip install -r requirements-extras.txt")
    cells = executed(directory).cells
    for kept, now in zip(CELLS, cells, strict=True):
        marks = {"measured": ""}  # the words are the same everywhere; the last digits are a machine's
        missing = unmatched_lines(Block("text", printed(kept), 1, marks), printed(now))
        assert not missing and len(printed(kept).splitlines()) == len(printed(now).splitlines()), (kept["id"], missing)
        assert pictures(kept) == pictures(now), kept["id"]
    assert "the same to the bit: True" in "".join(map(printed, cells))


def test_every_cell_of_the_notebook_is_kept_with_what_it_printed():
    assert len({cell["id"] for cell in CELLS}) == len(CELLS)
    code = [cell for cell in CELLS if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert all(bool(printed(cell)) >= ("print(" in "".join(cell["source"])) for cell in code)
    assert sum(len(pictures(cell)) for cell in code) == 4


def test_outside_of_the_project_the_first_cell_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = next("".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code")
    with pytest.raises(SystemExit, match="the project is not here"):
        exec(first, {})

"""docs/course.ipynb runs from top to bottom wherever it is opened, and is kept without what it printed."""

import json
from pathlib import Path

import pytest

from scripts.pages import ROOT

NOTEBOOK = ROOT / "docs" / "course.ipynb"


@pytest.mark.slow
@pytest.mark.parametrize("directory", [ROOT, ROOT / "docs"], ids=["from the repository", "from docs"])
def test_the_notebook_runs_from_top_to_bottom(directory: Path):
    nbclient = pytest.importorskip("nbclient", reason="needs pip install -r requirements-extras.txt")
    import nbformat

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    where = {"metadata": {"path": str(directory)}}
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", resources=where).execute()
    printed = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    assert "the same to the bit: True" in printed
    assert printed.endswith("the model made from the two files gives the same bits\n")


def test_the_notebook_is_kept_without_outputs():
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert len({cell["id"] for cell in cells}) == len(cells)
    for cell in cells:
        assert not cell.get("outputs") and cell.get("execution_count") is None, cell["id"]

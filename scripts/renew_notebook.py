"""Runs docs/course.ipynb from top to bottom and keeps what it printed and drew.

    pip install -r requirements-extras.txt
    python scripts/renew_notebook.py

Only outputs change; the times of a run and the machine's name for its kernel are left out, so that a second run on the
same machine changes nothing but the last digits of what is measured.
"""

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from training.errors import UsageError, run_door  # noqa: E402
from training.files import write_atomically  # noqa: E402

NOTEBOOK = ROOT / "docs" / "course.ipynb"


def executed(directory: Path) -> Any:
    """The notebook with the outputs of a run in `directory`; raises UsageError where the extras are missing."""
    try:
        import nbclient
        import nbformat
    except ImportError:
        raise UsageError("the notebook needs pip install -r requirements-extras.txt") from None
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    where = {"metadata": {"path": str(directory)}}
    client = nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources=where, record_timing=False, coalesce_streams=True
    )
    client.execute()
    notebook.metadata = {"kernelspec": notebook.metadata.kernelspec, "language_info": {"name": "python"}}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            output.pop("metadata", None) if output.output_type == "stream" else output.metadata.clear()
    return notebook


def main() -> None:
    import nbformat

    write_atomically(NOTEBOOK, nbformat.writes(executed(NOTEBOOK.parent)) + "\n")


if __name__ == "__main__":
    sys.exit(run_door(main))

"""The proof of equality lives in benchmarks/equality/equivalence.py; this, its old path, runs it."""

import runpy
from pathlib import Path

if __name__ == "__main__":
    runpy.run_path(str(Path(__file__).resolve().parent / "equality" / "equivalence.py"), run_name="__main__")

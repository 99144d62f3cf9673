"""The comparison of speed lives in benchmarks/speed/compare.py; this, its old path, runs it."""

import runpy
from pathlib import Path

if __name__ == "__main__":
    runpy.run_path(str(Path(__file__).resolve().parent / "speed" / "compare.py"), run_name="__main__")

"""The commands of before the two folders still run what they ran."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.mark.parametrize(("old", "flag"), [("compare.py", "--growth"), ("equivalence.py", "--gpt2_size")])
def test_an_old_command_takes_the_flags_it_took_and_refuses_with_the_same_code(old, flag, tmp_path):
    if old == "equivalence.py" and not importlib.util.find_spec("peft"):
        pytest.skip("pip install -r requirements-dev.txt")
    command = [sys.executable, str(BENCHMARKS / old), flag, "--json", "out.json", "--device", "abacus"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and done.stdout == ""
    assert "argument --device: invalid choice: 'abacus'" in done.stderr.splitlines()[-1]

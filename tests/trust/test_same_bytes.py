"""The same seed, the same bytes: from processes that differ in all that must not matter."""

import os
import subprocess
import sys

import pytest

from tests.trust import trees
from tests.trust.server import ROOT, TIMEOUT

pytestmark = [pytest.mark.slow, pytest.mark.promise("P3")]


def test_two_processes_of_the_same_seed_write_the_same_adapter(flags, tmp_path):
    """Their strings hash differently, they work in different directories, and their outputs have different names."""
    endings = []
    for number in (1, 2):
        cwd = tmp_path / str(number) / ("deeper" * (number - 1))
        cwd.mkdir(parents=True)
        env = os.environ | {"PYTHONHASHSEED": str(number), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, ROOT / "train.py", *flags, f"--output_dir=out-{number}"]
        done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=TIMEOUT)
        assert done.returncode == 0, done.stderr
        endings.append(trees.ending(cwd / f"out-{number}"))
    assert endings[0] == endings[1]


def test_another_seed_writes_another_adapter(server, flags, whole, tmp_path):
    server.run([*flags, "--seed=43"], tmp_path)
    other = trees.ending(tmp_path / "run")
    assert all(other[name] != whole[name] for name in whole if name.endswith(".safetensors"))
    assert other["adapter/adapter_config.json"] == whole["adapter/adapter_config.json"]

"""Two runs do not write into one directory, and a dead one keeps nobody out."""

import subprocess
import sys
from pathlib import Path

import pytest

from training.errors import UsageError
from training.run import locked

ROOT = Path(__file__).resolve().parents[2]
HOLD = """
import sys
from pathlib import Path
from training.run import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other_run(tmp_path):
    """Another process that holds the lock on `tmp_path`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_process_is_refused_while_the_first_holds_the_directory(tmp_path, other_run):
    with pytest.raises(UsageError, match="another run is writing there"), locked(tmp_path):
        pytest.fail("two runs in one directory")


def test_the_lock_is_free_after_the_block_and_after_a_process_was_killed(tmp_path, other_run):
    other_run.kill()
    other_run.wait()
    for _ in range(2):
        with locked(tmp_path):
            pass


def test_two_directories_have_two_locks(tmp_path, other_run):
    (tmp_path / "mine").mkdir()
    with locked(tmp_path / "mine"):
        pass

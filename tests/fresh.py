"""Code that needs a process of its own: what it imports, how much memory it takes, what it asks of the system."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def last_line(code: str, *arguments: object, timeout: float = 120) -> str:
    """The last line that `code` prints in a fresh process, started where the project's modules are found."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]

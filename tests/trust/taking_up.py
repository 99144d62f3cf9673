"""Taking a run up again in this process, up to where the first step would be made: what is said, and the exit code."""

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from safetensors.torch import load, save

import train
from tests.trust import trees
from tests.trust.server import door
from training.errors import Stopped


class Said(NamedTuple):
    code: int  # 0: a step would have been made
    out: str
    err: str


class Enough(Stopped):
    exit_code = 0

    def __init__(self) -> None:
        pass


def take_up(cwd: Path, path: str = "run") -> Said:
    """`train.py --resume_from_checkpoint path` in `cwd`. An exception that is no error of ours comes through."""

    def no_step(*_):
        raise Enough

    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(cwd):
        patch.setattr(train, "train_step", no_step)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = door(["--resume_from_checkpoint", path])
    return Said(code, out.getvalue(), err.getvalue())


def reseal(checkpoint: Path) -> None:
    """A new manifest of what is there: as if it had been written so."""
    files = sorted(path for path in checkpoint.iterdir() if path.name != "MANIFEST.json")
    (checkpoint / "MANIFEST.json").write_text(json.dumps({path.name: trees.sha256(path) for path in files}))


def change_tensors(file: Path, change: Callable[[dict], object]) -> None:
    """Let `change` change the tensors of a checkpoint's file in place, and write it so."""
    tensors = load(file.read_bytes())
    change(tensors)
    file.write_bytes(save(tensors))
    reseal(file.parent)

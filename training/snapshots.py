"""Copies of the trained weights over a run, small enough to keep many: an adapter one can watch learning.

RUN/snapshots/step-000120.safetensors holds what was trained, and nothing to go on from: that is a checkpoint's part.
The steps are evenly spaced from 0, where B is zero, to the last one; the best step is always among them.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from training.checkpoint import TensorFile, Tensors, write_tensors
from training.errors import StateError
from training.files import atomic_file

FOLDER = "snapshots"
_NAME = re.compile(r"step-(\d{6,12})\.safetensors")


def planned_steps(total: int, count: int) -> list[int]:
    """`count` steps, evenly spaced from 0 to `total`; a single one is the last. Of a short run they may be fewer."""
    if count < 2:
        return [total][:count]
    return sorted({round(total * i / (count - 1)) for i in range(count)})


class Snapshots:
    """Who keeps them while a run goes on. `weights()` gives the trained tensors as they are now."""

    def __init__(self, directory: Path, count: int, total: int, weights: Callable[[], Tensors]):
        self.directory, self.weights = directory, weights
        self.planned = set(planned_steps(total, count))
        self._best: int | None = -1  # not known yet

    def keep(self, step: int, best_step: int | None) -> None:
        """Write what `step` asks for, and remove the copies of later steps and of what was the best before.

        Called after a resume too, when the steps behind it will be made again. Raises OSError, naming the file.
        """
        if not self.planned:
            return
        wanted = self.planned | {best_step}
        path = self.directory / f"step-{step:06d}.safetensors"
        if step in wanted and not path.exists():
            with atomic_file(path) as file:
                write_tensors(file, self.weights())
        if best_step != self._best:
            for old in snapshots(self.directory):
                if old > step or old not in wanted:
                    (self.directory / f"step-{old:06d}.safetensors").unlink()
            self._best = best_step


def snapshots(directory: Path) -> list[int]:
    """The steps of which `directory` holds a copy, the earliest first."""
    names = os.listdir(directory) if directory.is_dir() else []
    return sorted(int(match[1]) for name in names if (match := _NAME.fullmatch(name)))


def read_snapshot(directory: Path, step: int, like: Tensors) -> dict[str, Tensor]:
    """The tensors of one copy, which must have names and shapes `like` these.

    Raises StateError, naming the file, if it has others, cannot be read, or holds a number that is not finite.
    """
    path = directory / f"step-{step:06d}.safetensors"
    file = TensorFile(path)
    if file.shapes != {name: tuple(tensor.shape) for name, tensor in like.items()}:  # before any of it is read
        raise StateError(f"{path}: does not fit this run; leave the file out")
    tensors = {name: file[name] for name in like}
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or not tensor.isfinite().all():
            raise StateError(f"{path}: {name} holds values that are no finite numbers; leave the file out")
    return tensors

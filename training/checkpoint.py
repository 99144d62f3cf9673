"""One checkpoint: a directory `step-000120` with all that a run needs to go on as if it had never stopped.

It gets its name when it is whole. `MANIFEST.json` holds the sha256 of each file, so a checkpoint that was damaged
later is noticed, named and passed over. No pickle: tensors are safetensors, the rest is JSON. Files are written and
read tensor by tensor: a checkpoint never stands in memory beside the model.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from training.errors import StateError
from training.files import atomic_directory, free_name, remove

Tensors = Mapping[str, Tensor]
FORMAT = 1  # of state.json; a checkpoint without the number is of the time before there was one, and alike
_STEP = re.compile(r"step-(\d{6,12})")
_FILE = re.compile(r"[a-z0-9-]{1,40}\.(safetensors|json)")
_LARGEST = 1 << 20  # bytes of a JSON file
_ASIDE = "aside"


def save_checkpoint(root: Path, step: int, tensors: dict[str, Tensors], state: dict[str, Any]) -> Path:
    """Write `root/step-NNNNNN` with one safetensors file per entry of `tensors` and `state` as JSON.

    Raises OSError, naming the file, where the disk does not take it.
    """
    path = root / f"step-{step:06d}"
    with atomic_directory(path) as directory:
        for name, group in tensors.items():
            write_tensors(directory / f"{name}.safetensors", group)
        content = json.dumps({"format": FORMAT} | state, indent=2, allow_nan=False)
        (directory / "state.json").write_text(content, encoding="utf-8")
        manifest = {file.name: _sha256(file) for file in sorted(directory.iterdir())}
        (directory / "MANIFEST.json").write_text(json.dumps(manifest, indent=2, allow_nan=False), encoding="utf-8")
    return path


def write_tensors(path: Path, tensors: Tensors) -> None:
    """A safetensors file; raises OSError, naming it, where the disk does not take it."""
    path.touch()  # with the mode that the umask asks for; the library would make it the owner's alone
    mode = path.stat().st_mode
    try:
        save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, path)
    except SafetensorError as error:  # all that can go wrong with sound tensors is the disk
        number = re.search(r"os error (\d+)", str(error))
        raise OSError(int(number[1]) if number else None, str(error), str(path)) from error
    path.chmod(mode)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class TensorFile(Mapping[str, Tensor]):
    """The tensors of a safetensors file, each read, as a copy, when it is asked for. Raises StateError if it cannot."""

    def __init__(self, path: Path):
        self.path = path
        try:
            with safe_open(str(path), framework="pt") as file:
                names = list(file.keys())
                self.shapes = {name: tuple(file.get_slice(name).get_shape()) for name in names}
        except (SafetensorError, OSError, ValueError) as error:
            raise StateError(f"{path}: not a whole safetensors file ({error})") from error

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.shapes:
            raise KeyError(name)
        try:
            # Opened anew each time: a memory map keeps every page that was read.
            with safe_open(str(self.path), framework="pt") as file:
                return file.get_tensor(name).clone()
        except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:  # the last two: an odd dtype
            raise StateError(f"{self.path}: {name} cannot be read ({error})") from error

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)


def verify(path: Path) -> None:
    """Raise StateError, naming the file, unless every byte of a checkpoint is as it was written."""
    manifest = _read_json(path / "MANIFEST.json")
    if "state.json" not in manifest:
        raise StateError(f"{path}: not a whole checkpoint (its MANIFEST.json names no state.json)")
    for name, recorded in manifest.items():
        file = path / name
        if not _FILE.fullmatch(name) or not isinstance(recorded, str):
            raise StateError(f"{path}: not a whole checkpoint (its MANIFEST.json names {name!a})")
        if file.is_symlink() or not file.is_file():
            raise StateError(f"{file}: missing; take another checkpoint")
        try:
            whole = _sha256(file) == recorded
        except OSError as error:
            raise StateError(f"{file}: cannot be read ({error.strerror}); take another checkpoint") from error
        if not whole:
            raise StateError(f"{file}: damaged (its sha256 is not the recorded one); take another checkpoint")


def load_checkpoint(path: Path, *, verified: bool = False) -> tuple[dict[str, Tensors], dict[str, Any]]:
    """The inverse of `save_checkpoint`, its tensors read when they are asked for.

    Raises StateError unless every byte is as it was written; `verified` says that this was looked at already.
    """
    if not verified:
        verify(path)
    state = _read_json(path / "state.json")
    if state.get("format", FORMAT) != FORMAT:
        raise StateError(
            f"{path / 'state.json'}: is of format {state['format']!a}, this version reads {FORMAT}; use the version "
            "that wrote it"
        )
    files = [path / name for name in _read_json(path / "MANIFEST.json") if name.endswith(".safetensors")]
    return {file.stem: TensorFile(file) for file in files}, state


def _read_json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError(f"it is larger than {_LARGEST:,} bytes")
        values = json.loads(path.read_bytes())
        if not isinstance(values, dict):
            raise ValueError(f"{path.name} holds no JSON object")
    except (OSError, ValueError, RecursionError) as error:
        raise StateError(f"{path.parent}: not a whole checkpoint ({error})") from error
    return values


def step_of(path: Path) -> int | None:
    """The step that a checkpoint's name tells, None for a path that is no checkpoint's."""
    match = _STEP.fullmatch(path.name)
    return int(match[1]) if match else None


def checkpoints(root: Path) -> list[Path]:
    """All checkpoints below `root`, the oldest first."""
    found = (path for path in root.glob("step-*") if step_of(path) is not None)
    return sorted(found, key=step_of)


@dataclass(frozen=True)
class Found:
    """The checkpoint to go on from, and those that stand in its way."""

    path: Path | None = None  # None: the run has none, and begins at its beginning
    state: dict[str, Any] = field(default_factory=dict)
    damaged: dict[Path, str] = field(default_factory=dict)  # with what is wrong
    later: list[Path] = field(default_factory=list)


def find_checkpoint(where: Path) -> Found:
    """`where` itself, or, if it is a run, the newest whole one in it. Raises StateError where none is whole."""
    explicit = step_of(where) is not None and not (where / "config.toml").is_file()
    root = where.parent if explicit else where / "checkpoints"
    damaged: dict[Path, str] = {}
    for path in [where] if explicit else reversed(checkpoints(root)):
        try:
            state = load_checkpoint(path)[1]
        except StateError as error:
            if explicit:
                raise
            damaged[path] = str(error)
            continue
        later = [other for other in checkpoints(root) if step_of(other) > step_of(path) and other not in damaged]
        return Found(path, state, damaged, later)
    if damaged:
        raise StateError(f"{where}: nothing to resume from ({'; '.join(damaged.values())})")
    return Found()


def put_aside(path: Path) -> Path:
    """Move a checkpoint into `aside/`, where no run looks for one; returns its new place."""
    aside = path.parent / _ASIDE
    aside.mkdir(exist_ok=True)
    new = free_name(aside / path.name)
    path.rename(new)
    return new


def prune_checkpoints(root: Path, keep: int, best_step: int | None) -> list[str]:
    """Delete all but the newest `keep` (at least one) checkpoints and the best one.

    Returns a line for each that could not be deleted: that is no reason to end a run.
    """
    told = []
    for path in checkpoints(root)[: -max(1, keep)]:
        if step_of(path) != best_step:
            try:
                remove(path)
            except OSError as error:
                told.append(f"{path}: an old checkpoint that could not be deleted ({error.strerror})")
    return told

"""What lies on the disk after a run: whether all of it is whole, and the bytes that two equal runs have in common."""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load

PRODUCT = ("adapter_model.safetensors", "adapter_config.json")


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def ending(run: Path) -> dict[str, str]:
    """The sha256 of what a run's end consists of: its adapter; weights, moments and random state at the last step.

    The adapter is that of the best step. It alone would be the same after any disturbance later than that.
    """
    last = steps(run)[-1]
    tensors = sorted((run / "checkpoints" / f"step-{last:06d}").glob("*.safetensors"))
    files = [*(run / "adapter" / name for name in PRODUCT), *tensors]
    return {str(path.relative_to(run)): sha256(path) for path in files}


def steps(run: Path) -> list[int]:
    """The steps of the checkpoints, in order."""
    return sorted(int(path.name.removeprefix("step-")) for path in (run / "checkpoints").glob("step-*"))


def metrics(run: Path) -> list[dict[str, Any]]:
    return [strict(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def trained_steps(run: Path) -> list[int]:
    return [entry["step"] for entry in metrics(run) if "learning_rate" in entry]


def steps_logged(run: Path) -> int:
    """How many steps the log of a run that is going on tells of."""
    log = run / "metrics.jsonl"
    return log.read_text(encoding="utf-8").count("grad_norm") if log.exists() else 0


def strict(text: str | bytes) -> Any:
    """JSON as its grammar has it: without NaN and infinity."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def is_whole(checkpoint: Path) -> bool:
    """Written independently of the code under test: each file is there and has the sha256 of the manifest."""
    try:
        manifest = json.loads((checkpoint / "MANIFEST.json").read_bytes())
        return all(sha256(checkpoint / name) == digest for name, digest in manifest.items())
    except (OSError, ValueError):
        return False


def check_tree(run: Path, clean: bool = True, mask: int | None = None) -> None:
    """Nothing below a run's directory is half written.

    `clean`: the run has been opened since it was last disturbed, so nothing hidden is left either.
    """
    for checkpoint in (run / "checkpoints").glob("step-*"):
        assert is_whole(checkpoint), f"{checkpoint} is not whole: {sorted(p.name for p in checkpoint.iterdir())}"
        strict((checkpoint / "state.json").read_bytes())
        for file in checkpoint.glob("*.safetensors"):
            check_tensors(file)
    for name in ("adapter", "model"):
        if (run / name).exists():
            check_product(run / name)
    for file in (run / "results.json", run / "status.json"):
        if file.exists():
            strict(file.read_bytes())
    if clean:
        assert not leftovers(run), leftovers(run)
        trained = trained_steps(run)
        assert trained == list(range(1, len(trained) + 1)), "each step stands once in the log, in its order"
    if mask is not None:
        check_modes(run, mask)


def check_product(directory: Path) -> None:
    for file in directory.glob("*.safetensors"):
        check_tensors(file)
    for file in directory.glob("*.json"):
        strict(file.read_bytes())
    assert (directory / "task.json").is_file() and (directory / "README.md").is_file()


def check_tensors(file: Path) -> None:
    for name, tensor in load(file.read_bytes()).items():
        assert torch.isfinite(tensor.double()).all(), f"{file}: {name}"


def check_modes(run: Path, mask: int) -> None:
    for path in run.rglob("*"):
        if not path.name.startswith("."):
            wanted = (0o777 if path.is_dir() else 0o666) & ~mask
            assert path.stat().st_mode & 0o777 == wanted, f"{path} has mode {path.stat().st_mode & 0o777:o}"


def leftovers(run: Path) -> list[Path]:
    """What an interrupted write leaves in a run, or beside it."""
    beside = run.parent.glob(".tmp-*")
    return [path for path in [*beside, *run.rglob("*")] if path.name.startswith(".tmp-")]


def copied(tree: Path, to: Path) -> Path:
    """A directory of its own to work in, with the run in it, linked files as links."""
    shutil.copytree(tree, to, symlinks=True, ignore=shutil.ignore_patterns("*.out", "*.err"))
    os.utime(to)
    return to

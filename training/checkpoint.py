"""What a run needs to go on as if it had never stopped: weights, optimizer, random state, position.

A checkpoint is one directory, `step-000120`, complete or absent. `MANIFEST.json` holds the sha256 of each file, so a
damaged checkpoint is noticed and the one before it taken. No pickle: tensors are safetensors, the rest is JSON.
"""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from training.errors import StateError
from training.files import atomic_directory

Tensors = dict[str, Tensor]


def save_checkpoint(root: Path, step: int, tensors: dict[str, Tensors], state: dict[str, Any]) -> Path:
    """Write `root/step-NNNNNN` with one safetensors file per entry of `tensors` and `state` as JSON."""
    path = root / f"step-{step:06d}"
    files = {
        f"{name}.safetensors": save({k: t.detach().cpu().contiguous() for k, t in group.items()})
        for name, group in tensors.items()
    }
    files["state.json"] = json.dumps(state, indent=2).encode()
    files["MANIFEST.json"] = json.dumps(
        {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}, indent=2
    ).encode()
    with atomic_directory(path) as directory:
        for name, data in files.items():
            (directory / name).write_bytes(data)
    return path


def load_checkpoint(path: Path) -> tuple[dict[str, Tensors], dict[str, Any]]:
    """The inverse of `save_checkpoint`; raises StateError, naming the file, unless every byte is as it was written."""
    try:
        manifest = json.loads((path / "MANIFEST.json").read_bytes())
        if not isinstance(manifest, dict) or "state.json" not in manifest:
            raise ValueError("its MANIFEST.json names no state.json")
        files = {name: (path / name).read_bytes() for name in manifest}
    except (OSError, ValueError) as error:
        raise StateError(f"{path}: not a whole checkpoint ({error})") from error
    for name, data in files.items():
        if hashlib.sha256(data).hexdigest() != manifest[name]:
            raise StateError(f"{path / name}: damaged (its sha256 is not the recorded one); take another checkpoint")
    tensors = {
        name.removesuffix(".safetensors"): load(data) for name, data in files.items() if name.endswith(".safetensors")
    }
    return tensors, json.loads(files["state.json"])


def checkpoints(root: Path) -> list[Path]:
    """All checkpoints below `root`, the oldest first."""
    found = (path for path in root.glob("step-*") if path.name.removeprefix("step-").isdecimal())
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))


def find_checkpoint(where: Path) -> tuple[Path, dict[str, Tensors], dict[str, Any], list[str]]:
    """The checkpoint to go on from: `where` itself, or the newest whole one in its run.

    Also returns one line for each damaged checkpoint that was passed over.
    """
    if (where / "MANIFEST.json").is_file():
        return where, *load_checkpoint(where), []
    skipped = []
    for path in reversed(checkpoints(where / "checkpoints")):
        try:
            return path, *load_checkpoint(path), skipped
        except StateError as error:
            skipped.append(str(error))
    reason = "; ".join(skipped) or "no checkpoints/step-* in it"
    raise StateError(f"{where}: nothing to resume from ({reason})")


def prune_checkpoints(root: Path, keep: int, best_step: int | None) -> None:
    """Delete all but the newest `keep` checkpoints and the best one."""
    for path in checkpoints(root)[:-keep]:
        if int(path.name.removeprefix("step-")) != best_step:
            shutil.rmtree(path)


def optimizer_tensors(optimizer: torch.optim.Optimizer, parameters: Tensors) -> Tensors:
    """The optimizer's state under parameter names, not positions: a changed order cannot mix them up."""
    states = ((name, optimizer.state.get(parameter, {})) for name, parameter in parameters.items())
    return {f"{name}|{key}": torch.as_tensor(value) for name, state in states for key, value in state.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, parameters: Tensors, tensors: Tensors) -> None:
    """Put `optimizer_tensors` back; raises StateError where they are of other parameters."""
    for key, value in tensors.items():
        name, _, field = key.rpartition("|")
        parameter = parameters.get(name)
        if parameter is None or (value.dim() > 0 and value.shape != parameter.shape):
            raise StateError(
                f"optimizer state for {name} does not fit this model; was the run started with other flags?"
            )
        # AdamW keeps its step count on the CPU unless it is fused; the moments live with the parameter.
        fused = optimizer.param_groups[0].get("fused")
        optimizer.state[parameter][field] = value.to(parameter.device if value.dim() or fused else "cpu")


def restore_parameters(parameters: Tensors, tensors: Tensors) -> None:
    """Copy saved values into the trainable parameters; raises StateError unless names and shapes are the same."""
    shapes = {name: tuple(t.shape) for name, t in tensors.items()}
    if shapes != {name: tuple(p.shape) for name, p in parameters.items()}:
        odd = (
            sorted(set(shapes) ^ set(parameters))[:3]
            or [n for n in shapes if shapes[n] != tuple(parameters[n].shape)][:3]
        )
        raise StateError(
            f"the checkpoint's weights do not fit this model ({', '.join(odd)}); was it started with other flags?"
        )
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[name])


def training_tensors(parameters: Tensors, optimizer: torch.optim.Optimizer, device: torch.device) -> dict[str, Tensors]:
    """All tensors a loop needs to go on: trainable weights, the optimizer's moments, the random state."""
    moments = optimizer_tensors(optimizer, parameters)
    return {"trainable": parameters, "optimizer": moments, "rng": random_state(device)}


def restore_training(
    tensors: dict[str, Tensors], parameters: Tensors, optimizer: torch.optim.Optimizer, device: torch.device
) -> None:
    """The inverse of `training_tensors`; raises StateError where they are of another model or kind of device."""
    restore_parameters(parameters, tensors["trainable"])
    restore_optimizer(optimizer, parameters, tensors["optimizer"])
    restore_random_state(tensors["rng"], device)


def random_state(device: torch.device) -> Tensors:
    """The state of torch's global generators, which dropout draws from."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        state["mps"] = torch.mps.get_rng_state()
    return state


def restore_random_state(state: Tensors, device: torch.device) -> None:
    """Raises StateError if the checkpoint was written on another kind of device: the run would not be the same."""
    if set(state) != set(random_state(device)):
        raise StateError(
            f"the checkpoint has random state of {sorted(state)}, not of {device.type}; resume on that kind"
        )
    torch.set_rng_state(state["cpu"])
    if "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
    if "mps" in state:
        torch.mps.set_rng_state(state["mps"])

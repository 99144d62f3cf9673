"""What is trained, with all that moves with it: put into a checkpoint, and taken out of one to the bit."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from training.checkpoint import Tensors, find_checkpoint, load_checkpoint, put_aside, verify
from training.device import Place
from training.errors import NonFiniteError, StateError
from training.resume import compare, settings_of
from training.run import Run, write_config
from training.state import RunState

ADAMW = {"step", "exp_avg", "exp_avg_sq"}  # what AdamW keeps for each parameter that it has moved


@dataclass
class Trainee:
    """What a checkpoint stores besides the state: the trainable weights and all that moves with them."""

    parameters: dict[str, nn.Parameter]
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    place: Place

    def start(self, run: Run, state: RunState, config: Any) -> None:
        """Go on from --resume_from_checkpoint, if that is given; and see that there is room for what will be saved."""
        if config.resume_from_checkpoint:
            for line in self.restore(Path(config.resume_from_checkpoint), run, state, config):
                print(line)
            if self.place.ranks.is_main and (run.path / "config.toml").is_file():  # the next time these are compared
                write_config(run.path, config, resume_from_checkpoint=None, precision=self.place.precision)
        for line in run.open_log(state.step, state.unscored):
            print(line)
        # Weights and two moments each, in the dtype of the weights.
        run.check_room(3 * sum(p.numel() * p.element_size() for p in self.parameters.values()), config.save_total_limit)

    def save(self, run: Run, state: RunState, config: Any) -> None:
        """A checkpoint of this step; then what is neither among the newest --save_total_limit nor the best goes.

        All processes must call this, and none goes on before it is on the disk. Raises NonFiniteError, and writes
        nothing, where a weight is no number.
        """
        ranks = self.place.ranks
        streams = ranks.everyone(random_state(self.place.device))
        if ranks.is_main:
            check_finite(self.parameters, state.step)
            tensors = {"trainable": self.parameters, "optimizer": optimizer_tensors(self.optimizer, self.parameters)}
            tensors |= {"rng" if rank == 0 else f"rng-{rank}": stream for rank, stream in enumerate(streams)}
            values = {"state": state.to_dict(), "config": settings_of(config), "scaler": self.scaler.state_dict()}
            values |= {"precision": self.place.precision, "world_size": ranks.size}
            run.save(state.step, tensors, values, keep=config.save_total_limit, best_step=state.best_step)
        ranks.wait()  # who ends now may take the one that still writes along: torchrun does

    def restore(self, where: Path, run: Run, state: RunState, config: Any) -> list[str]:
        """Everything as it was when a checkpoint was written; raises UsageError, naming it, for a changed setting.

        Returns lines for the user: which checkpoint it is, what was changed, passed over and put aside. A run that
        has no checkpoint begins at its beginning.
        """
        ranks = self.place.ranks
        found = ranks.everyone(find_checkpoint(where) if ranks.is_main else None)[0]
        if found.path is None:
            return [f"{where}: no checkpoint in it yet; starting at the beginning"]
        saved = found.state
        lines = compare(found.path, saved, config, state.identity, self.place)
        tensors, _ = load_checkpoint(found.path, verified=True)
        state.take(saved.get("state"), found.path / "state.json")
        lines += self._drop_best_if_damaged(found.path, state)
        self._restore_tensors(found.path, tensors, state)
        restore_scaler(self.scaler, saved.get("scaler"), found.path)
        run.last = found.path
        if ranks.is_main:
            lines += [f"passed over: {why}; it is now {put_aside(path)}" for path, why in found.damaged.items()]
            lines += [f"later than that, and put aside: {put_aside(path)}" for path in found.later]
        return [*lines, f"going on after step {state.step} from {found.path}"]

    def _restore_tensors(self, path: Path, tensors: dict[str, Tensors], state: RunState) -> None:
        rng = "rng" if self.place.ranks.is_main else f"rng-{self.place.ranks.rank}"
        missing = sorted({"trainable", "optimizer", rng} - set(tensors))
        if missing:
            raise StateError(f"{path}: {missing[0]}.safetensors is missing; take another checkpoint")
        restore_parameters(self.parameters, tensors["trainable"])
        restore_optimizer(self.optimizer, self.parameters, tensors["optimizer"], moved=state.updates > 0)
        restore_random_state(tensors[rng], self.place.device)

    def _drop_best_if_damaged(self, path: Path, state: RunState) -> list[str]:
        """Without its weights the best step cannot be the end of a run; a later one may be."""
        if state.best_step in (None, state.step):
            return []
        best, why = path.with_name(f"step-{state.best_step:06d}"), None
        if self.place.ranks.is_main:
            try:
                verify(best)
            except StateError as error:
                why = str(error)
        why = self.place.ranks.everyone(why)[0]
        if why is None:
            return []
        state.best_step = state.best_score = None
        return [f"the best checkpoint so far is lost ({why}); the best one from here on counts"]

    def load_best(self, run: Run, state: RunState) -> int:
        """The weights of the best evaluation, or the last ones where these are lost; returns of which step they are."""
        if state.best_step in (None, state.step):
            return state.step
        try:
            tensors, _ = load_checkpoint(run.checkpoints / f"step-{state.best_step:06d}")
            restore_parameters(self.parameters, tensors["trainable"])
        except (StateError, KeyError) as error:
            print(f"the best checkpoint is lost ({error}); ending with the weights of step {state.step}")
            return state.step
        return state.best_step


def check_finite(parameters: Tensors, step: int) -> None:
    """Raise NonFiniteError, naming the tensor, for weights that are no numbers: nobody could go on from them."""
    for name, parameter in parameters.items():
        if parameter.numel() and not torch.stack(torch.aminmax(parameter.detach())).isfinite().all():
            raise NonFiniteError(f"after step {step} {name} is not finite, so it is not saved; lower --learning_rate")


def optimizer_tensors(optimizer: torch.optim.Optimizer, parameters: Tensors) -> dict[str, Tensor]:
    """The optimizer's state under parameter names, not positions: a changed order cannot mix them up."""
    states = ((name, optimizer.state.get(parameter, {})) for name, parameter in parameters.items())
    return {f"{name}|{key}": torch.as_tensor(value) for name, state in states for key, value in state.items()}


def restore_optimizer(
    optimizer: torch.optim.Optimizer, parameters: Tensors, tensors: Tensors, *, moved: bool = True
) -> None:
    """Put `optimizer_tensors` back; raises StateError where they are of other parameters, or not all.

    `moved` says that a step was made, so that there must be some for each parameter.
    """
    kept: dict[str, set[str]] = {name: set() for name in parameters}
    for key, shape in _shapes(tensors).items():
        name, _, field = key.rpartition("|")
        if name not in kept or shape not in ((), tuple(parameters[name].shape)):
            raise StateError(
                f"optimizer state for {name} does not fit this model; was the run started with other flags?"
            )
        kept[name].add(field)
    for name, fields in kept.items():
        adamw = isinstance(optimizer, torch.optim.AdamW)
        if (moved and not fields) or (adamw and fields not in (set(), ADAMW)):
            raise StateError(f"optimizer state for {name} is not whole ({', '.join(sorted(fields)) or 'none'})")
    fused = optimizer.param_groups[0].get("fused")
    for key in tensors:
        name, _, field = key.rpartition("|")
        value = _finite(tensors, key)
        # AdamW keeps its step count on the CPU unless it is fused; the moments live with the parameter.
        device = parameters[name].device if value.dim() or fused else "cpu"
        optimizer.state[parameters[name]][field] = value.to(device)


def restore_parameters(parameters: Tensors, tensors: Tensors) -> None:
    """Copy saved values into the trainable parameters; raises StateError unless names and shapes are the same."""
    shapes, wanted = _shapes(tensors), {name: tuple(p.shape) for name, p in parameters.items()}
    if shapes != wanted:
        odd = sorted(set(shapes) ^ set(wanted))[:3] or [n for n in shapes if shapes[n] != wanted[n]][:3]
        raise StateError(
            f"the checkpoint's weights do not fit this model ({', '.join(odd)}); was it started with other flags?"
        )
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(_finite(tensors, name))


def _shapes(tensors: Tensors) -> dict[str, tuple[int, ...]]:
    """A checkpoint's file knows them without reading a tensor."""
    known = getattr(tensors, "shapes", None)
    return known if known is not None else {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _finite(tensors: Tensors, name: str) -> Tensor:
    tensor = tensors[name]
    if not tensor.is_floating_point() or not tensor.isfinite().all():
        raise StateError(f"the checkpoint's {name} holds values that are no finite numbers; take another checkpoint")
    return tensor


def random_state(device: torch.device) -> dict[str, Tensor]:
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
    try:
        torch.set_rng_state(state["cpu"])
        if "cuda" in state:
            torch.cuda.set_rng_state(state["cuda"], device)
        if "mps" in state:
            torch.mps.set_rng_state(state["mps"])
    except (RuntimeError, TypeError) as error:  # of another length, or of another dtype
        raise StateError(f"the checkpoint's random state cannot be used ({str(error).splitlines()[0]})") from error


def restore_scaler(scaler: torch.amp.GradScaler, saved: Any, path: Path) -> None:
    """fp16's loss scale as it was; raises StateError where the file holds something else."""
    wanted = scaler.state_dict()
    if not (isinstance(saved, Mapping) and set(saved) == set(wanted) and all(map(_sound, saved.values()))):
        raise StateError(f"{path / 'state.json'}: its loss scale is not one of {' '.join(wanted) or 'nothing'}")
    if wanted:  # torch refuses an empty one
        scaler.load_state_dict(dict(saved))


def _sound(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and value >= 0

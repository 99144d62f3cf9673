"""Where a run stands, and how it is put down and taken up again."""

import dataclasses
import json
import math
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from training import checkpoint as ckpt
from training.device import Place
from training.errors import NonFiniteError, UsageError
from training.metrics import Metric

# Settings of these groups, and these, may differ between a run and its continuation: they change nothing learned.
_FREE_GROUPS = ("files", "machine")
_FREE = {"preset", "also_test"}


@dataclass
class RunState:
    """What changes while a run goes on."""

    identity: dict[str, str]  # fingerprints: a checkpoint belongs to one base and one set of rows
    step: int = 0  # optimizer steps done
    updates: int = 0  # of these, steps that changed weights: fp16 skips a step whose gradients overflow
    best_step: int | None = None
    best_score: float | None = None  # smaller is better
    train_seconds: float = 0.0  # evaluation and saving not counted
    rows: int = 0
    tokens: int = 0  # real ones, padding not counted
    _began: float = field(default=0.0, repr=False)

    def start_clock(self) -> None:
        self._began = time.perf_counter()

    def finish_step(self, stepped: bool, rows: int, tokens: int) -> None:
        self.step, self.updates = self.step + 1, self.updates + stepped
        self.rows, self.tokens = self.rows + rows, self.tokens + tokens
        self.train_seconds += time.perf_counter() - self._began

    def note_score(self, scores: dict[str, Any], metric: Metric) -> bool:
        """True if no earlier evaluation was better. Raises NonFiniteError for a loss that is no number: never best."""
        if not math.isfinite(scores["loss"]):
            raise NonFiniteError(f"held-out loss {scores['loss']} after step {self.step}; lower --learning_rate")
        score = -scores[metric.name] if metric.higher_is_better else scores[metric.name]
        if self.best_score is not None and score >= self.best_score:
            return False
        self.best_step, self.best_score = self.step, score
        return True


@dataclass
class Trainee:
    """What a checkpoint stores besides the state: the trainable weights and all that moves with them."""

    parameters: dict[str, nn.Parameter]
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    place: Place

    def save(self, run: Path, state: RunState, config: Any, keep: int) -> None:
        """Write `run/checkpoints/step-NNNNNN`, then delete what is neither among the newest `keep` nor the best."""
        ranks = self.place.ranks
        streams = ranks.everyone(ckpt.random_state(self.place.device))
        if not ranks.is_main:
            return
        tensors = ckpt.training_tensors(self.parameters, self.optimizer, self.place.device)
        tensors |= {f"rng-{rank}": streams[rank] for rank in range(1, ranks.size)}
        values = {"state": dataclasses.asdict(state), "config": dataclasses.asdict(config)}
        values |= {"scaler": self.scaler.state_dict(), "precision": self.place.precision, "world_size": ranks.size}
        ckpt.save_checkpoint(run / "checkpoints", state.step, tensors, values)
        ckpt.prune_checkpoints(run / "checkpoints", keep, state.best_step)

    def restore(self, where: Path, state: RunState, config: Any) -> str:
        """Everything as it was when a checkpoint was written; raises UsageError, naming it, for a changed setting.

        Returns lines for the user: which checkpoint it is and which damaged ones were passed over.
        """
        path, tensors, saved, skipped = ckpt.find_checkpoint(where)
        free = {f.name for f in dataclasses.fields(config) if f.metadata["group"] in _FREE_GROUPS} | _FREE
        settings = json.loads(json.dumps(dataclasses.asdict(config)))
        changed = sorted(n for n, value in settings.items() if n not in free and saved["config"].get(n) != value)
        ranks, saved_size = self.place.ranks, saved.get("world_size", 1)
        changed += [f"the number of processes (it was {saved_size})"] * (saved_size != ranks.size)
        changed += ["precision"] * (saved["precision"] != self.place.precision)
        changed += [what for what, value in state.identity.items() if saved["state"]["identity"].get(what) != value]
        if changed:
            raise UsageError(f"{path}: cannot go on with a change of {', '.join(changed)}; start a new run for that")
        if not ranks.is_main:
            tensors["rng"] = tensors[f"rng-{ranks.rank}"]
        ckpt.restore_training(tensors, self.parameters, self.optimizer, self.place.device)
        self.scaler.load_state_dict(saved["scaler"])
        for name, value in saved["state"].items():
            setattr(state, name, value)
        return "\n".join(
            [*(f"passed over: {line}" for line in skipped), f"going on after step {state.step} from {path}"]
        )

    def load_best(self, run: Path, state: RunState) -> None:
        """The weights of the best evaluation, if later steps have changed them."""
        if state.best_step not in (None, state.step):
            tensors, _ = ckpt.load_checkpoint(run / "checkpoints" / f"step-{state.best_step:06d}")
            ckpt.restore_parameters(self.parameters, tensors["trainable"])


def run_of(path: Path) -> Path:
    """The run that a path given to --resume_from_checkpoint belongs to: the run itself or one of its checkpoints."""
    run = path.parent.parent if path.parent.name == "checkpoints" else path
    if not os.path.isfile(run / "config.toml"):
        raise UsageError(f"--resume_from_checkpoint {path}: no run there (a run has a config.toml)")
    return run

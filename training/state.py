"""Where a run stands: what changes while it goes on, and how that is read back from a checkpoint."""

import dataclasses
import math
import time
from dataclasses import dataclass, field
from typing import Any

from training.errors import NonFiniteError, StateError
from training.metrics import Metric


def finite(scores: dict[str, Any], what: str) -> dict[str, Any]:
    """The scores as they came; raises NonFiniteError, naming `what` it is, where their loss is no number."""
    if not math.isfinite(scores["loss"]):
        raise NonFiniteError(f"{what} is {scores['loss']}; lower --learning_rate, or take --precision fp32")
    return scores


@dataclass
class RunState:
    """What changes while a run goes on."""

    identity: dict[str, str]  # fingerprints: a checkpoint belongs to one base and one set of rows
    step: int = 0  # optimizer steps done
    updates: int = 0  # of these, steps that changed weights: fp16 skips a step whose gradients overflow
    unscored: bool = False  # an evaluation is due after `step`, and has not been made
    best_step: int | None = None
    best_score: float | None = None  # smaller is better
    train_seconds: float = 0.0  # evaluation and saving not counted
    rows: int = 0
    tokens: int = 0  # real ones, padding not counted
    kept_step: int | None = field(default=None, repr=False)  # whose weights the run has ended with
    _began: float = field(default=0.0, repr=False)

    def start_clock(self) -> None:
        self._began = time.perf_counter()

    def finish_step(self, stepped: bool, rows: int, tokens: int) -> None:
        self.step, self.updates = self.step + 1, self.updates + stepped
        self.rows, self.tokens = self.rows + rows, self.tokens + tokens
        self.train_seconds += time.perf_counter() - self._began

    def note_score(self, scores: dict[str, Any], metric: Metric) -> bool:
        """True if no earlier evaluation was better. Raises NonFiniteError for a loss that is no number: never best."""
        finite(scores, f"held-out loss after step {self.step}")
        self.unscored = False
        score = -scores[metric.name] if metric.higher_is_better else scores[metric.name]
        if self.best_score is not None and score >= self.best_score:
            return False
        self.best_step, self.best_score = self.step, score
        return True

    def to_dict(self) -> dict[str, Any]:
        """For state.json."""
        return {name: value for name, value in dataclasses.asdict(self).items() if name in _KINDS}

    def take(self, values: Any, where: object) -> None:
        """Become what `to_dict` gave; what it does not name keeps its default. Raises StateError, naming the field."""
        if not isinstance(values, dict):
            raise StateError(f"{where}: its state is no JSON object; take another checkpoint")
        for name, value in values.items():
            kind, number = _KINDS.get(name), type(value) in (int, float)
            sound = kind is not None and (not number or 0 <= value < math.inf or name == "best_score")
            if not (sound and isinstance(value, kind) and (type(value) is not bool or kind is bool)):
                raise StateError(f"{where}: {name!a} is {value!a:.80} in its state; take another checkpoint")
        for name, value in values.items():
            setattr(self, name, value)


_KINDS: dict[str, Any] = {  # of what is kept; JSON writes a whole float as it likes
    "identity": dict, "step": int, "updates": int, "unscored": bool, "best_step": int | None,
    "best_score": float | int | None, "train_seconds": float | int, "rows": int, "tokens": int,
}  # fmt: skip

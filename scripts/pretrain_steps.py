"""The steps of a pretraining: rows drawn for each, the rate of each, and how many of them fit into some minutes."""

import time
from dataclasses import dataclass

import torch
from corpus import Mixture
from pretrain_settings import MAX_GRAD_NORM, PretrainConfig
from torch import Tensor, nn

from tasks.steps import Step
from train import train_step
from training.device import Place
from training.errors import UsageError
from training.optimization import set_learning_rate

WARM_UP, TRIED, AT_LEAST = 5, 20, 3.0  # steps that --minutes measures by, and seconds; the first compile
TRAINED = 0.85  # of the time that is left then: the rest is for evaluating and saving, and long runs are slower


@dataclass(frozen=True)
class Rows:
    """Whole rows of text: no padding and so no mask, which torch.compile would have to read."""

    input_ids: Tensor  # (B, T) int64, where the model is
    attention_mask = None

    @property
    def labels(self) -> Tensor:
        return self.input_ids

    @property
    def tokens(self) -> int:
        return self.input_ids.numel()

    @property
    def counted(self) -> int:
        """Targets: the first token of a row is none."""
        return self.tokens - len(self.input_ids)

    def to(self, device: torch.device) -> "Rows":
        return self


@dataclass(frozen=True)
class Steps:
    """What train.fit takes its batches from. An epoch lasts --eval_steps: rows are drawn, not read through."""

    texts: Mixture
    config: PretrainConfig

    @property
    def total(self) -> int:
        return self.config.max_steps

    @property
    def tokens(self) -> int:
        return sum(rows_at(number, self.config) for number in range(self.total)) * self.config.n_positions

    def step(self, number: int) -> Step:
        """Step `number`, counted from 0: a pure function of it and of the seed."""
        rows = Rows(self.texts.batch(number, rows_at(number, self.config), self.config.n_positions))
        ends = (number + 1) % self.config.eval_steps == 0 or number + 1 == self.total
        return Step([rows], len(rows.input_ids), rows.tokens, ends_epoch=ends)


def rows_at(step: int, config: PretrainConfig) -> int:
    """Small batches first, while the gradients still agree; larger ones later, when they are mostly noise."""
    return config.batch_size[step * len(config.batch_size) // config.max_steps]


def learning_rate_at(step: int, config: PretrainConfig) -> float:
    """Linear warm-up, the peak, and a linear cooldown to 0 (Hägele et al. 2024, arXiv 2405.18392)."""
    left = (config.max_steps - step) / max(1.0, config.cooldown * config.max_steps)
    return config.learning_rate * min(1.0, (step + 1) / max(1, config.warmup_steps), left)


def steps_that_fit(
    forward: nn.Module, optimizer: torch.optim.Optimizer, texts: Mixture, config: PretrainConfig, place: Place,
    began: float,
) -> int:  # fmt: skip
    """How many steps end `config.minutes` after `began`, evaluation and saving included.

    Measured by steps at a rate of 0, which leave the weights as they are; the optimizer is of no use afterwards.
    """
    set_learning_rate(optimizer, 0.0)
    forward.train()
    seconds = []
    for rows in config.batch_size:
        done, first = 0, 0.0
        while done < WARM_UP + TRIED or time.perf_counter() - first < AT_LEAST:
            batch = Rows(texts.batch(done, rows, config.n_positions))
            train_step(forward, optimizer, place.grad_scaler(), [batch], place, MAX_GRAD_NORM)
            done += 1
            first = time.perf_counter() if done == WARM_UP else first
        seconds.append((time.perf_counter() - first) / (done - WARM_UP))
    left = 60 * config.minutes - (time.perf_counter() - began)
    steps = int(TRAINED * left * len(seconds) / sum(seconds))
    if steps < 1:
        raise UsageError(f"--minutes {config.minutes}: no step fits; a start and {TRIED} trials took longer")
    print(f"{steps:,} steps of {', '.join(f'{1e3 * s:.1f}' for s in seconds)} ms fit into {config.minutes} minutes")
    return steps

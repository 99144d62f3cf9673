"""Exact mode: a run that gives, on a CPU, the bits of transformers + peft + Trainer at every step.

Layers and loop need nothing for it: the plain classes, padded batches, Trainer's order of rows and its seeding are
there anyway, and exact mode leaves them as they are. These are the two places where it means something of its own:

1. The random stream. Dropout draws from torch's global generator, and Trainer's data loader takes one number out of it
   at the start of every epoch, a seed for workers it does not have. `draw_for_epoch` takes the same number out.
2. The loss. Trainer takes the mean of a batch. `train_step` sums over the rows and divides by the rows of the step,
   which for one batch per step is the same number, to the bit. For several (gradient accumulation) it is the right
   number and Trainer's is not: there this project agrees with Trainer only if Trainer is given the same loss.

Trainer's evaluation draws such a number too; here an evaluation leaves the run as it is. Compare with
`eval_strategy="no"`.
"""

import torch

from training.errors import UsageError

MEANING = (
    "exact mode: on a CPU the bits of transformers 5.23 + peft 0.21 + Trainer, at every step; without it "
    "the same to rounding, with other dropout masks"
)


def check_exact(precision: str, processes: int = 1, fast: bool | None = None, device: str = "cpu") -> None:
    """Raise UsageError for what would round otherwise than one process of Trainer in fp32 on a CPU."""
    if device not in ("auto", "cpu"):
        raise UsageError(f"--exact --device {device}: the bits promised are a CPU's; leave out one of the two")
    if fast:
        raise UsageError("--exact --fast: exact mode computes the plain form; leave out one of the two")
    if precision not in ("auto", "fp32"):
        raise UsageError(f"--exact --precision {precision}: exact mode computes in fp32; leave out one of the two")
    if processes > 1:
        raise UsageError(f"--exact on {processes} processes: exact mode is one process of Trainer; leave out torchrun")


def draw_for_epoch() -> None:
    """Move the global generator on as an epoch of torch's DataLoader does (its `_base_seed`)."""
    torch.empty((), dtype=torch.int64).random_()

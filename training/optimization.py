"""AdamW as Trainer sets it up, and the learning rate as a pure function of the step.

Loshchilov & Hutter 2019, "Decoupled Weight Decay Regularization".
"""

import inspect
import math

import torch
from torch import Tensor, nn

from training.errors import UsageError

SCHEDULES = ("linear", "cosine", "constant")


class EagerAdamW(torch.optim.AdamW):
    """torch's AdamW without what torch.compile has wrapped around it: importing that costs seconds, and is not used."""

    add_param_group = inspect.unwrap(torch.optim.AdamW.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.AdamW.zero_grad)
    step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))


def build_optimizer(model: nn.Module, learning_rate: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW over the trainable parameters; as in Trainer, biases and norms do not decay, LoRA and the head do."""
    norms = {
        f"{name}.{p}" for name, m in model.named_modules() if isinstance(m, nn.LayerNorm) for p in ("weight", "bias")
    }
    decay, plain = [], []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (plain if name in norms or name.endswith("bias") else decay).append(parameter)
    groups = [{"params": decay, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]
    if not decay and not plain:
        raise UsageError("nothing to train: all parameters are frozen")
    device = (decay + plain)[0].device.type
    return EagerAdamW([g for g in groups if g["params"]], lr=learning_rate, fused=device in ("cpu", "cuda", "mps"))


def learning_rate_at(step: int, total: int, *, peak: float, schedule: str, warmup_steps: float = 0) -> float:
    """The rate of update number `step`, counted from 0, of `total`.

    Rises linearly over `warmup_steps` (below 1: that share of `total`), then falls to 0 ("linear", "cosine") or stays.
    """
    warmup = math.ceil(warmup_steps * total) if 0 < warmup_steps < 1 else int(warmup_steps)
    if step < warmup:
        return peak * (step / max(1, warmup))  # in this order: as transformers rounds
    if schedule == "constant":
        return peak
    rest = max(1, total - warmup)
    factor = (total - step) / rest
    if schedule == "cosine":
        factor = 0.5 * (1.0 + math.cos(math.pi * ((step - warmup) / rest)))
    return peak * max(0.0, factor)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def clip_gradients(model: nn.Module, max_norm: float) -> Tensor:
    """Scale all gradients so that their common norm is at most `max_norm` (0: leave them); returns the norm before, ().

    The norms are added in the model's order, not in that of the optimizer's groups: another order rounds differently.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.grad is not None]
    return torch.nn.utils.clip_grad_norm_(parameters, max_norm if max_norm > 0 else math.inf)

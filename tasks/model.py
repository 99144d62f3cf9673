"""Base, head, LoRA and the fast form put together: one place for everybody who needs a model to train or to ask."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import gpt2
import lora
from training import dropout
from training.device import Place
from training.distributed import Ranks
from training.snapshots import FOLDER, Snapshots


def build_model(config: Any, directory: Path, task: Any) -> tuple[nn.Module, str]:
    """The task's model with what `--train` asks for trainable, and the fingerprint of its base.

    `config` is a TrainConfig. Its seed draws the new weights: the head's first, then the adapter's.
    """
    torch.manual_seed(config.seed)
    model = task.load_model(directory)
    model.name_or_path = config.model
    fingerprint = gpt2.base_fingerprint(model, directory)
    if config.train == "lora":
        adapter = lora.LoraConfig(
            r=config.lora_r, lora_alpha=config.lora_alpha, lora_dropout=config.lora_dropout,
            use_rslora=config.use_rslora, target_modules=config.target_modules, task_type=task.task_type,
        )  # fmt: skip
        lora.apply_lora(model, adapter)
    elif config.train == "head":
        model.requires_grad_(False)
        model.score.requires_grad_(True)
    return model, fingerprint


def snapshots_of(model: nn.Module, config: Any, run: Path, total: int, ranks: Ranks) -> Snapshots:
    """Who keeps the copies that `--snapshots` asks for, under peft's keys: of A, B and the head, or of the head."""

    def weights() -> dict[str, Tensor]:
        if config.train == "lora":
            return lora.lora_state_dict(model)
        return {f"base_model.model.{name}": p.detach() for name, p in lora.trainable_parameters(model).items()}

    whole = config.train == "full"  # as large as the model, each
    if config.snapshots and whole and ranks.is_main:
        print("--snapshots: full fine-tuning keeps none; each would be a whole model")
    return Snapshots(run / FOLDER, config.snapshots if ranks.is_main and not whole else 0, total, weights)


def put_on(model: nn.Module, place: Place, hold: bool = True) -> nn.Module:
    """The model on the place's device and in its form; `hold` lets bf16 keep frozen matrices in bf16. Returns it.

    Held matrices are rounded: whoever saves them along with what was trained must not have them held.
    """
    model.to(place.device)
    if place.fast:
        use_fast(model)
        if hold and place.precision == "bf16":
            gpt2.hold_frozen(model, torch.bfloat16)
    return model


def use_fast(model: nn.Module) -> None:
    """The fast forms of the body, of LoRA and of dropout."""
    for room in (gpt2, lora, dropout):
        room.use_fast(model)


def use_plain(model: nn.Module) -> None:
    """The inverse of `use_fast`."""
    for room in (gpt2, lora, dropout):
        room.use_plain(model)

"""Exercise 16: the adapter's name stays out of the keys, and alpha is stored, not the factor."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file


def write_adapter(
    directory: Path,
    layers: dict[str, tuple[torch.Tensor, torch.Tensor]],
    score: torch.Tensor,
    r: int,
    lora_alpha: float,
    target_modules: list[str],
) -> None:
    tensors = {"base_model.model.score.weight": score}
    for name, (A, B) in layers.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = A
        tensors[f"base_model.model.{name}.lora_B.weight"] = B
    save_file(tensors, directory / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA",
        "task_type": "SEQ_CLS",
        "r": r,
        "lora_alpha": lora_alpha,
        "target_modules": target_modules,
        "fan_in_fan_out": True,
    }
    (directory / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")

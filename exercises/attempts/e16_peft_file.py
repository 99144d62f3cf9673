"""Exercise 16: write an adapter that peft reads. Chapter: docs/11-files.md, "Two files, byte by byte"."""

import json  # noqa: F401 - you will need it
from pathlib import Path

import torch
from safetensors.torch import save_file  # noqa: F401 - you will need it


def write_adapter(
    directory: Path,
    layers: dict[str, tuple[torch.Tensor, torch.Tensor]],
    score: torch.Tensor,
    r: int,
    lora_alpha: float,
    target_modules: list[str],
) -> None:
    """Write the two files of an adapter into `directory`, which exists.

    layers   the layer's name in the model -> (A, B): "transformer.h.0.attn.c_attn" -> (r, in), (out, r)
    score    the trained head, (labels, in)

    adapter_model.safetensors: `save_file(tensors, path)` of a dict with the keys

        base_model.model.transformer.h.0.attn.c_attn.lora_A.weight        A as it is
        base_model.model.transformer.h.0.attn.c_attn.lora_B.weight        B as it is
        ...                                                               and so on for each layer
        base_model.model.score.weight                                     the head

    adapter_config.json: a JSON object with at least

        "peft_type": "LORA"    "task_type": "SEQ_CLS"    "r"    "lora_alpha"    "target_modules": a list
        "fan_in_fan_out": true      (true for Conv1D; spares you the warning of chapter 4)
    """
    raise NotImplementedError("yours to write: save the tensors under peft's keys, and the config as JSON")

"""Adapters on disk in peft's format, both ways: `adapter_config.json` and `adapter_model.safetensors`.

Loading is strict: every tensor of the file goes somewhere and every tensor of the adapter comes from the file, or the
model is left as it was. File keys are `base_model.model.` + the layer's path, without the adapter's name.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from lora.config import AdapterError, LoraConfig
from lora.inject import _require, apply_lora, delete_adapter, remove_lora
from lora.layer import LoraLayer, ModulesToSaveWrapper, is_conv1d

_PREFIX = "base_model.model."
_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def lora_state_dict(model: nn.Module, adapter_name: str = "default") -> dict[str, Tensor]:
    """The tensors of one adapter under peft's file keys; they share memory with the model."""
    _require(model, adapter_name)
    tensors: dict[str, Tensor] = {}
    for path, module in model.named_modules():
        if isinstance(module, LoraLayer) and adapter_name in module.lora_A:
            for name, tensor in module.pair(adapter_name).items():
                tensors[f"{_PREFIX}{path}.{name}"] = tensor.detach()
        elif isinstance(module, ModulesToSaveWrapper) and adapter_name in module.modules_to_save:
            for name, tensor in module.modules_to_save[adapter_name].state_dict().items():
                tensors[f"{_PREFIX}{path}.{name}"] = tensor
    return tensors


def save_adapter(model: nn.Module, directory: str | Path, adapter_name: str = "default") -> None:
    """Write one adapter's two files into `directory`. The same adapter always gives the same bytes."""
    tensors = {key: t.cpu().contiguous() for key, t in sorted(lora_state_dict(model, adapter_name).items())}
    broken = [key for key, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise AdapterError(f"{broken[0].removeprefix(_PREFIX)} holds NaN or infinite values; not saved")
    adapted = [m for m in model.modules() if isinstance(m, LoraLayer) and adapter_name in m.lora_A]
    layers = [layer for layer in adapted if not isinstance(layer.base_layer, nn.Embedding)]
    config = dataclasses.replace(
        model.peft_config[adapter_name],
        inference_mode=True,
        # peft keeps one flag for all layers and reads it as "the weight is (in, out)"; it corrects a wrong one.
        fan_in_fan_out=bool(layers) and all(is_conv1d(layer.base_layer) for layer in layers),
        base_model_name_or_path=getattr(model, "name_or_path", None)
        or model.peft_config[adapter_name].base_model_name_or_path,
    )
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / _CONFIG).write_text(json.dumps(config.to_dict(), indent=2, sort_keys=True), encoding="utf-8")
    (directory / _WEIGHTS).write_bytes(save(tensors, metadata={"format": "pt"}))


def load_adapter(
    model: nn.Module, directory: str | Path, adapter_name: str = "default", is_trainable: bool = False
) -> nn.Module:
    """Add the adapter of `directory` to `model`, in place. Returns the model.

    Frozen unless `is_trainable`. Raises AdapterError for a missing, extra, misshapen or non-finite tensor and for a
    config that this project does not compute; the model is then as before.
    """
    config = dataclasses.replace(read_config(directory), inference_mode=not is_trainable)
    path = Path(directory) / _WEIGHTS
    tensors = _read_weights(path)
    _check_rank(path, tensors, config)
    first = not getattr(model, "peft_config", {})
    with torch.random.fork_rng(devices=[]):  # what apply_lora draws is overwritten at once
        apply_lora(model, config, adapter_name)
    try:
        _drop_base_copies(path, model, tensors)
        _fill(path, lora_state_dict(model, adapter_name), tensors)
    except AdapterError:
        remove_lora(model) if first else delete_adapter(model, adapter_name)
        raise
    return model


def read_config(directory: str | Path) -> LoraConfig:
    """The LoraConfig of an adapter directory."""
    path = Path(directory) / _CONFIG
    try:
        values: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise AdapterError(f"{path}: not found; an adapter directory holds {_CONFIG} and {_WEIGHTS}") from None
    except (ValueError, OSError, RecursionError) as error:
        raise AdapterError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(values, dict):
        raise AdapterError(f"{path}: holds no JSON object")
    return LoraConfig.from_dict(values)


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        # Read whole, not memory-mapped: a file that changes later must not change a loaded adapter.
        return load(path.read_bytes())
    except FileNotFoundError:
        hint = (
            " (adapter_model.bin is pickle and is not read; convert it with peft)"
            * (path.parent / "adapter_model.bin").exists()
        )
        raise AdapterError(f"{path}: not found{hint}") from None
    except (SafetensorError, ValueError, OSError) as error:
        raise AdapterError(f"{path}: not a whole safetensors file ({error})") from error


def head_shape(directory: str | Path) -> tuple[int, int] | None:
    """(labels, width) of the `score` that an adapter brings along, None if it brings none."""
    tensors = _read_weights(Path(directory) / _WEIGHTS)
    return next((tuple(t.shape) for key, t in tensors.items() if key == f"{_PREFIX}score.weight"), None)


def _check_rank(path: Path, tensors: dict[str, Tensor], config: LoraConfig) -> None:
    """Before any layer of size r is built: a file may say r is a thousand million."""
    of_a = {key: t for key, t in tensors.items() if key.endswith(("lora_A.weight", "lora_embedding_A"))}
    wrong = [key for key, t in of_a.items() if tuple(t.shape[:1]) != (config.r,)]
    if wrong:
        shape = tuple(tensors[wrong[0]].shape)
        rank = shape[0] if shape else None
        raise AdapterError(f"{path}: {wrong[0]} is {shape}, rank {rank}, but {_CONFIG} says r={config.r}")
    if not of_a:
        raise AdapterError(f"{path}: holds no lora_A tensors; it is not a LoRA adapter")


def _drop_base_copies(path: Path, model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """peft writes the frozen weight of an adapted lm_head along with the adapter; it must be this model's own."""
    for key in [key for key in tensors if key.endswith(".base_layer.weight")]:
        layer = dict(model.named_modules()).get(key.removeprefix(_PREFIX).removesuffix(".base_layer.weight"))
        if isinstance(layer, LoraLayer):
            own, copy = layer.base_layer.weight, tensors.pop(key)
            if own.shape != copy.shape or not torch.equal(own.cpu(), copy.to(own.dtype)):
                raise AdapterError(f"{path}: {key} is not this model's weight; was it made for another base model?")


def _fill(path: Path, wanted: dict[str, Tensor], found: dict[str, Tensor]) -> None:
    missing, extra = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
    if missing or extra:
        groups = {"missing": missing, "not part of this model": extra}
        parts = [f"{what}: {keys[0]} ({len(keys)} in all)" for what, keys in groups.items() if keys]
        raise AdapterError(f"{path}: {'; '.join(parts)}; was it made for another base model?")
    for key, target in wanted.items():
        if found[key].shape != target.shape:
            shapes = f"is {tuple(found[key].shape)}, this model needs {tuple(target.shape)}"
            raise AdapterError(f"{path}: {key} {shapes}; was it made for another base model or other labels?")
        if not found[key].is_floating_point() or not torch.isfinite(found[key]).all():
            raise AdapterError(f"{path}: {key} holds values that are not finite numbers")
    with torch.no_grad():
        for key, target in wanted.items():
            target.copy_(found[key])

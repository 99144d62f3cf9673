"""Adapters on disk in peft's format, both ways: `adapter_config.json` and `adapter_model.safetensors`.

Loading is strict: every tensor of the file goes somewhere and every tensor of the adapter comes from the file, or the
model is left as it was. File keys are `base_model.model.` + the layer's path, without the adapter's name.
"""

import copy
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lora.config import AdapterError, LoraConfig
from lora.inject import adapter_names, add_adapter, all_or_nothing, plan, put_in, require
from lora.layer import LoraLayer, is_conv1d
from lora.targets import Wrapper, lora_layer, wrappers

_PREFIX = "base_model.model."
_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def lora_state_dict(model: nn.Module, adapter_name: str = "default") -> dict[str, Tensor]:
    """The tensors of one adapter under peft's file keys; they share memory with the model."""
    require(model, adapter_name)
    adapted = {path: w for path, w in wrappers(model).items() if adapter_name in adapter_names(w)}
    return _under_file_keys(adapted, adapter_name)


def _under_file_keys(adapted: dict[str, Wrapper], name: str) -> dict[str, Tensor]:
    return {
        f"{_PREFIX}{path}.{key}": tensor.detach()
        for path, wrapper in adapted.items()
        for key, tensor in wrapper.adapter(name).items()
    }


def save_adapter(model: nn.Module, directory: str | Path, adapter_name: str = "default") -> None:
    """Write one adapter's two files into `directory`. The same adapter always gives the same bytes."""
    tensors = {key: t.cpu().contiguous() for key, t in sorted(lora_state_dict(model, adapter_name).items())}
    broken = [key for key, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise AdapterError(f"{broken[0].removeprefix(_PREFIX)} holds NaN or infinite values; not saved")
    adapted = [w for w in wrappers(model).values() if isinstance(w, LoraLayer) and adapter_name in w.scaling]
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
    model: nn.Module,
    directory: str | Path,
    adapter_name: str = "default",
    is_trainable: bool = False,
    layer: Callable[[nn.Module], LoraLayer] = lora_layer,
) -> nn.Module:
    """Add the adapter of `directory` to `model`, in place. Returns the model.

    Frozen unless `is_trainable`; `layer` as for `apply_lora`. Raises AdapterError for a missing, extra, misshapen or
    non-finite tensor and for a config that this project does not compute. After any exception the model is as before.
    """
    config = dataclasses.replace(read_config(directory), inference_mode=not is_trainable)
    path = Path(directory) / _WEIGHTS
    tensors = _read_weights(path)
    planned = plan(model, config, adapter_name, layer)
    _drop_base_copies(path, planned, tensors)
    wanted = _under_file_keys(_on_meta(planned, adapter_name, config), adapter_name)
    _compare(path, wanted, tensors, config.r)
    tensors = _cast(path, wanted, tensors)
    with all_or_nothing(model), torch.random.fork_rng(devices=[]):  # what is drawn is overwritten at once
        put_in(model, planned, config, adapter_name)
        for key, target in lora_state_dict(model, adapter_name).items():
            target.copy_(tensors[key])
    return model


def read_config(directory: str | Path) -> LoraConfig:
    """The LoraConfig of an adapter directory."""
    path = Path(directory) / _CONFIG
    try:
        values: Any = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_each_key_once)
    except FileNotFoundError:
        raise AdapterError(f"{path}: not found; an adapter directory holds {_CONFIG} and {_WEIGHTS}") from None
    except (ValueError, OSError, RecursionError) as error:
        raise AdapterError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(values, dict):
        raise AdapterError(f"{path}: holds no JSON object")
    return LoraConfig.from_dict(values)


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"{twice!r} is there twice")
    return dict(pairs)


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
    except (SafetensorError, ValueError, OSError, KeyError, TypeError) as error:  # the last two: dtype, size
        raise AdapterError(f"{path}: not a whole safetensors file ({str(error).splitlines()[0]})") from error


def head_shape(directory: str | Path) -> tuple[int, int] | None:
    """(labels, width) of the `score` that an adapter brings along, None if it brings none."""
    path = Path(directory) / _WEIGHTS
    score = _read_weights(path).get(f"{_PREFIX}score.weight")
    if score is None:
        return None
    if score.ndim != 2 or not score.numel():
        raise AdapterError(f"{path}: {_PREFIX}score.weight is {tuple(score.shape)}, not (labels, width)")
    return tuple(score.shape)


def _drop_base_copies(path: Path, planned: dict[str, Wrapper], tensors: dict[str, Tensor]) -> None:
    """peft writes the frozen weight of an adapted lm_head along with the adapter; it must be this model's own."""
    for key in [key for key in tensors if key.endswith(".base_layer.weight")]:
        layer = planned.get(key.removeprefix(_PREFIX).removesuffix(".base_layer.weight"))
        if isinstance(layer, LoraLayer):
            own, copied = layer.base_layer.weight, tensors.pop(key)
            if own.shape != copied.shape or not torch.equal(own.cpu(), copied.to(own.dtype)):
                raise AdapterError(f"{path}: {key} is not this model's weight; was it made for another base model?")


class _NothingDrawn(TorchFunctionMode):
    """The meta device has nothing to fill, and for a normal distribution there torch imports half a compiler."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if getattr(function, "__module__", None) == "torch.nn.init":
            return (args or tuple(kwargs.values()))[0]  # the tensor, as it is
        return (torch.empty if function is torch.randn else function)(*args, **(kwargs or {}))


def _on_meta(planned: dict[str, Wrapper], name: str, config: LoraConfig) -> dict[str, Wrapper]:
    """The wrappers' twins with the new adapter in them, all without memory: a file may say r is a thousand million."""
    twins = {}
    config = dataclasses.replace(config, init_lora_weights=False)
    for path, wrapper in planned.items():
        known: dict[int, Any] = {
            id(held): held
            for module in wrapper.modules()
            for held in vars(module).values()
            if type(held) not in (dict, list)
        }
        known |= {id(p): nn.Parameter(p.detach().to("meta"), requires_grad=False) for p in wrapper.parameters()}
        known |= {id(buffer): buffer.to("meta") for buffer in wrapper.buffers()}
        with torch.device("meta"), _NothingDrawn():
            twins[path] = copy.deepcopy(wrapper, known)  # what is known is not copied
            add_adapter(twins[path], name, config)
    return twins


def _compare(path: Path, wanted: dict[str, Tensor], found: dict[str, Tensor], r: int) -> None:
    """Every key and every shape."""
    missing, extra = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
    if missing or extra:
        groups = {"missing": missing, "not part of this model": extra}
        parts = [f"{what}: {ascii(keys[0])[1:-1]} ({len(keys)} in all)" for what, keys in groups.items() if keys]
        raise AdapterError(f"{path}: {'; '.join(parts)}; was it made for another base model?")
    for key, target in wanted.items():
        shape, needed = tuple(found[key].shape), tuple(target.shape)
        differ = [(a, b) for a, b in zip(shape, needed) if a != b]
        if ".lora_" in key and len(shape) == len(needed) and differ and all(b == r for _, b in differ):
            raise AdapterError(f"{path}: {key} is {shape}, rank {differ[0][0]}, but {_CONFIG} says r={r}")
        if shape != needed:
            needs = f"is {shape}, this model needs {needed}"
            raise AdapterError(f"{path}: {key} {needs}; was it made for another base model or other labels?")


def _cast(path: Path, wanted: dict[str, Tensor], found: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors in the dtypes that the model gives them, all finite there: 1e300 is not, in float32."""
    cast = {}
    for key, target in wanted.items():
        number = found[key].is_floating_point()
        cast[key] = found[key].to(target.dtype) if number else found[key]
        if not number or not torch.isfinite(cast[key]).all():
            held = str(found[key].dtype).removeprefix("torch.")
            raise AdapterError(f"{path}: {key}, {held}, holds values that are not finite numbers in {target.dtype}")
    return cast

"""Adapters on disk in peft's format, both ways: `adapter_config.json` and `adapter_model.safetensors`.

Loading is strict: every tensor of the file goes somewhere and every tensor of the adapter comes from the file, or the
model is left as it was. File keys are `base_model.model.` + the layer's path, without the adapter's name.
"""

import contextlib
import copy
import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lora.config import AdapterError, LoraConfig
from lora.files import Shape, read_json, read_shapes, read_tensors
from lora.inject import adapter_names, add_adapter, all_or_nothing, put_in, require, require_new
from lora.layer import LoraLayer, is_conv1d
from lora.targets import Wrapper, lora_layer, planned_wrappers, wrappers

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
    require_new(model, adapter_name)
    try:
        planned = planned_wrappers(model, config, layer)
    except AdapterError as error:
        raise AdapterError(f"{path.with_name(_CONFIG)}: {error}") from error
    wanted = _under_file_keys(_on_meta(planned, adapter_name, config), adapter_name)
    needed = {key: tuple(tensor.shape) for key, tensor in wanted.items()}
    copies = _base_copies(planned)

    def compare(shapes: dict[str, Shape]) -> None:
        _compare(path, needed | {key: tuple(copies[key].shape) for key in shapes if key in copies}, shapes, config.r)

    with _told(path):
        tensors = read_tensors(path, compare)
    _drop_base_copies(path, copies, tensors)
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
        values = read_json(path)
    except FileNotFoundError:
        raise AdapterError(f"{path}: not found; an adapter directory holds {_CONFIG} and {_WEIGHTS}") from None
    except (ValueError, OSError) as error:
        raise AdapterError(f"{path}: cannot be read as JSON ({error})") from error
    try:
        return LoraConfig.from_dict(values)
    except AdapterError as error:  # some of its words are the file's, which may be a million
        told = str(error).removeprefix(f"{_CONFIG}: ").removeprefix("LoraConfig: ")
        raise AdapterError(f"{path}: {told[:300]}") from error


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """What goes wrong in reading `path`, as an AdapterError of one line."""
    try:
        yield
    except AdapterError:
        raise
    except FileNotFoundError:
        hint = (
            " (adapter_model.bin is pickle and is not read; convert it with peft)"
            * (path.parent / "adapter_model.bin").exists()
        )
        raise AdapterError(f"{path}: not found{hint}") from None
    except (SafetensorError, ValueError, OSError, KeyError, TypeError) as error:  # the last two: dtype, size
        reason = ascii(str(error)[:300].split("\n")[0])[1:-1]  # it may quote the file
        raise AdapterError(f"{path}: not a whole safetensors file ({reason})") from error


def head_shape(directory: str | Path) -> tuple[int, int] | None:
    """(labels, width) of the `score` that an adapter brings along, None if it brings none; reads the header alone."""
    path = Path(directory) / _WEIGHTS
    with _told(path):
        shape = read_shapes(path).get(f"{_PREFIX}score.weight")
    if shape is not None and (len(shape) != 2 or 0 in shape):
        raise AdapterError(f"{path}: {_PREFIX}score.weight is {shape}, not (labels, width)")
    return shape


def changes_nothing(model: nn.Module, adapter_name: str = "default") -> bool:
    """Whether the update of every layer is zero, as before training: one of the two factors holds nothing else."""
    tensors = lora_state_dict(model, adapter_name)
    factors = [t for key, t in tensors.items() if key.endswith((".lora_B.weight", ".lora_embedding_A"))]
    return bool(factors) and not any(tensor.any() for tensor in factors)


def _base_copies(planned: dict[str, Wrapper]) -> dict[str, Tensor]:
    """Key -> the frozen weight that peft writes along with the adapter of an lm_head; it must be this model's own."""
    layers = {path: wrapper for path, wrapper in planned.items() if isinstance(wrapper, LoraLayer)}
    return {f"{_PREFIX}{path}.base_layer.weight": layer.base_layer.weight for path, layer in layers.items()}


def _drop_base_copies(path: Path, own: dict[str, Tensor], tensors: dict[str, Tensor]) -> None:
    for key in own.keys() & tensors.keys():
        if not torch.equal(own[key].cpu(), tensors.pop(key).to(own[key].dtype)):
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


def _compare(path: Path, wanted: Mapping[str, Shape], found: Mapping[str, Shape], r: int) -> None:
    """Every key and every shape."""
    missing, extra = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
    if missing or extra:
        groups = {"missing": missing, "not part of this model": extra}
        parts = [f"{what}: {_plain(keys[0])} ({len(keys)} in all)" for what, keys in groups.items() if keys]
        raise AdapterError(f"{path}: {'; '.join(parts)}; was it made for another base model?")
    for key, needed in wanted.items():
        shape = found[key]
        differ = [(a, b) for a, b in zip(shape, needed) if a != b]
        if ".lora_" in key and len(shape) == len(needed) and differ and all(b == r for _, b in differ):
            raise AdapterError(f"{path}: {key} is {shape}, rank {differ[0][0]}, but {_CONFIG} says r={r}")
        if shape != needed:
            needs = f"is {str(shape)[:80]}, this model needs {needed}"
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


def _plain(key: str) -> str:
    """A name out of a file as it can stand in one line."""
    return ascii(key[:200])[1:-1]

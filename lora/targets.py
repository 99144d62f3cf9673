"""Which modules of a model a LoraConfig means, and what each is wrapped in. Nothing here changes the model."""

import difflib
from collections.abc import Callable

from torch import nn

from lora.config import AdapterError, LoraConfig
from lora.embedding import LoraEmbedding
from lora.layer import LoraLayer
from lora.modules_to_save import ModulesToSaveWrapper

Wrapper = LoraLayer | ModulesToSaveWrapper


def lora_layer(base_layer: nn.Module) -> LoraLayer:
    """The one hook: what a target is wrapped in. `apply_lora` and `load_adapter` take another function, or a class.

    A variant is a subclass of LoraLayer. What it trains beside A and B lies in dictionaries of its own, filed by
    adapter as `lora_A` is: that is how it is frozen, saved, loaded and deleted. Its `forward` and `delta_weight` say
    what is computed, and its `wraps` on which layers.
    """
    for kind in (LoraLayer, LoraEmbedding):
        if kind.wraps(base_layer):
            return kind(base_layer)
    raise ValueError("LoRA goes on Linear, Conv1D and Embedding layers")


def planned_wrappers(
    model: nn.Module, config: LoraConfig, layer: Callable[[nn.Module], LoraLayer]
) -> dict[str, Wrapper]:
    """path -> the wrapper there or, where there is none, the one that belongs there; in the order of random draws.

    Raises AdapterError for a target that matches nothing or cannot be adapted.
    """
    saved = _find_saved(model, config)
    planned: dict[str, Wrapper] = {}
    for path, target in _find_targets(model, config, saved).items():
        there = isinstance(target, LoraLayer)
        try:
            fresh = layer(target.base_layer if there else target)
        except ValueError as error:
            raise AdapterError(f"target module {path!r} is a {type(target).__name__}; {error}") from error
        if there and not isinstance(target, type(fresh)):
            raise AdapterError(
                f"target module {path!r} is wrapped as {type(target).__name__} already, not {type(fresh).__name__}"
            )
        planned[path] = target if there else fresh
    for path, module in saved.items():
        there = isinstance(module, ModulesToSaveWrapper)
        planned[path] = module if there else ModulesToSaveWrapper(module)
    return planned


def wrappers(model: nn.Module) -> dict[str, Wrapper]:
    """path -> every wrapper in `model`."""
    return {path: module for path, module in model.named_modules() if isinstance(module, Wrapper)}


def _find_targets(model: nn.Module, config: LoraConfig, saved: dict[str, nn.Module]) -> dict[str, nn.Module]:
    """The layers whose name is a target or ends in `.target`; a layer that is wrapped already counts as itself."""
    names = _outside_wrappers(model)
    found: dict[str, nn.Module] = {}
    for target in config.target_modules:
        matches = {n for n in names if n == target or n.endswith(f".{target}")}
        if not matches:
            raise AdapterError(f"target module {target!r} matches nothing{_nearest(target, names)}")
        found |= {name: names[name] for name in matches}
    ordered = {name: found[name] for name in names if name in found and name not in saved}
    if not ordered:
        raise AdapterError(f"target modules {', '.join(found)} are all trained in full; name layers for LoRA as well")
    return ordered


def _find_saved(model: nn.Module, config: LoraConfig) -> dict[str, nn.Module]:
    """The modules to train in full. Of the two usual names of a classifier's head, one is enough."""
    names = _outside_wrappers(model)
    found: dict[str, nn.Module] = {}
    for wanted in config.modules_to_save or ():
        matches = {n: m for n, m in names.items() if n == wanted or n.endswith(f".{wanted}")}
        if not matches and not (config.task_type == "SEQ_CLS" and wanted in ("classifier", "score")):
            raise AdapterError(f"modules_to_save {wanted!r} matches nothing{_nearest(wanted, names)}")
        found |= matches
    if config.task_type == "SEQ_CLS" and not found:
        raise AdapterError("task_type SEQ_CLS needs a model with a head called score or classifier")
    return found


def _outside_wrappers(model: nn.Module) -> dict[str, nn.Module]:
    """path -> module, of all that can be a target: what lies within a wrapper cannot."""
    inside = tuple(f"{path}." for path in wrappers(model))
    return {path: module for path, module in model.named_modules() if path and not path.startswith(inside)}


def _nearest(wanted: str, names: dict[str, nn.Module]) -> str:
    endings = sorted(
        {name.rsplit(".", 1)[-1] for name, m in names.items() if hasattr(m, "weight") or isinstance(m, LoraLayer)}
    )
    close = difflib.get_close_matches(wanted, endings, n=3, cutoff=0.3) or endings
    return f"; the nearest modules are {', '.join(close)}" if close else ""

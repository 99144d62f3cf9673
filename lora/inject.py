"""Put LoRA into a loaded model, and take it out again: wrap, freeze, switch, merge, remove.

The model is changed in place and from outside; its own code knows nothing of this. `model.peft_config` (peft's
name for it) holds the LoraConfig of each adapter.
"""

import contextlib
import copy
import difflib
from collections.abc import Iterator, Sequence

from torch import nn

from lora.config import AdapterError, LoraConfig
from lora.embedding import LoraEmbedding
from lora.layer import LoraLayer, ModulesToSaveWrapper, is_conv1d

# What lies within a wrapper and is no target of its own.
_INSIDE = (
    "base_layer",
    "lora_A",
    "lora_B",
    "lora_embedding_A",
    "lora_embedding_B",
    "original_module",
    "modules_to_save",
)


def apply_lora(model: nn.Module, config: LoraConfig, adapter_name: str = "default") -> nn.Module:
    """Freeze `model` and add an adapter to it, in place. Returns the model.

    The first adapter is active and trainable; a further one waits, frozen, for `set_adapter`. The layers are
    visited in the order of `named_modules()`, which fixes the order of the random draws.
    Raises AdapterError, before anything is changed, for a target that matches nothing or cannot be adapted.
    """
    if not adapter_name or "." in adapter_name:
        raise AdapterError(
            f"adapter name {adapter_name!r}: a name without dots is needed, it becomes part of parameter names"
        )
    configs: dict[str, LoraConfig] = getattr(model, "peft_config", {})
    if adapter_name in configs:
        raise AdapterError(f"adapter {adapter_name!r} is there already; delete_adapter it or choose another name")
    saved = _find_saved(model, config)
    targets = _find_targets(model, config, saved)
    active = _chosen(model)
    if not configs and not hasattr(model, "_trainable_before_lora"):
        model._trainable_before_lora = {name for name, p in model.named_parameters() if p.requires_grad}
        model.requires_grad_(False)
    for name, layer in targets.items():
        if not isinstance(layer, LoraLayer):
            wrapper = LoraEmbedding if isinstance(layer, nn.Embedding) else LoraLayer
            layer = wrapper(layer).train(layer.training)
            _replace(model, name, layer)
        layer.add_adapter(adapter_name, config.r, config.scaling, config.lora_dropout, config.init_lora_weights)
    for name, module in saved.items():
        if not isinstance(module, ModulesToSaveWrapper):
            module = ModulesToSaveWrapper(module).train(module.training)
            _replace(model, name, module)
        trained = copy.deepcopy(module.original_module).float()  # what trains is float32, also on a half base
        module.modules_to_save[adapter_name] = trained.requires_grad_(False)
    model.peft_config = {**configs, adapter_name: config}
    _switch(model, active if configs else [adapter_name])
    return model


def remove_lora(model: nn.Module) -> nn.Module:
    """The inverse of `apply_lora`: every base layer back in its place, untouched, and all adapters gone."""
    unmerge_lora(model)
    return _unwrap(model, _original)


def merge_and_unload(model: nn.Module) -> nn.Module:
    """A plain model with the active adapters folded in: wrappers gone, trained modules (the head) in place."""
    merge_lora(model)
    return _unwrap(model, lambda wrapper: _original(wrapper) if isinstance(wrapper, LoraLayer) else wrapper.current())


def merge_lora(model: nn.Module) -> None:
    """Fold the active adapters into the base weights; all layers or, after an error, none.

    Raises AdapterError for a layer that shares its weight with another (lm_head with the embedding): both would change.
    """
    layers = _wrapped(model)
    _refuse_shared(model)
    merged_before = any(layer.merged_adapters for layer in layers)
    try:
        for layer in layers:
            layer.merge()
    except ValueError as error:
        if not merged_before:
            unmerge_lora(model)
        raise AdapterError(str(error)) from error


def unmerge_lora(model: nn.Module) -> None:
    """The base weights as they were before `merge_lora`, to the bit."""
    for layer in _wrapped(model):
        layer.unmerge()


@contextlib.contextmanager
def disable_lora(model: nn.Module) -> Iterator[None]:
    """Within the block the model is exactly the base model, its untrained head included.

    What is switched, added or deleted within it counts from its end on; merged weights are merged again then.
    """
    if "_disabled_adapters" in model.__dict__:  # within another such block
        yield
        return
    merged = any(layer.merged_adapters for layer in _wrapped(model))
    unmerge_lora(model)
    model._disabled_adapters = active_adapters(model)
    try:
        _activate(model, [])
        yield
    finally:
        _activate(model, model.__dict__.pop("_disabled_adapters"))
        if merged:
            merge_lora(model)


def set_adapter(model: nn.Module, adapter_name: str | Sequence[str]) -> None:
    """Make one adapter, or the sum of several, the active one; only active adapters train."""
    names = [adapter_name] if isinstance(adapter_name, str) else list(adapter_name)
    for name in names:
        _require(model, name)
        if names.count(name) > 1:
            raise AdapterError(f"adapter {name!r} is named twice; it would be added twice")
    if any(layer.merged_adapters for layer in _wrapped(model)):
        raise AdapterError("an adapter is merged into the weights; call unmerge_lora before switching")
    _switch(model, names)


def delete_adapter(model: nn.Module, adapter_name: str) -> None:
    """Forget one adapter. If it was the only active one, the model is the base model until `set_adapter`."""
    _require(model, adapter_name)
    if any(adapter_name in layer.merged_adapters for layer in _wrapped(model)):
        raise AdapterError(f"adapter {adapter_name!r} is merged into the weights; call unmerge_lora before deleting it")
    remaining = [name for name in _chosen(model) if name != adapter_name]
    for module in model.modules():
        if isinstance(module, LoraLayer) and adapter_name in module.lora_A:
            module.delete_adapter(adapter_name)
        elif isinstance(module, ModulesToSaveWrapper) and adapter_name in module.modules_to_save:
            del module.modules_to_save[adapter_name]
    for name, module in list(model.named_modules()):
        if isinstance(module, LoraLayer | ModulesToSaveWrapper) and not _adapter_names(module):
            _replace(model, name, _original(module))
    del model.peft_config[adapter_name]
    _switch(model, remaining)


def active_adapters(model: nn.Module) -> list[str]:
    """The names of the adapters that take part in the forward pass, in the order in which they are added."""
    return next((list(m.active_adapters) for m in model.modules() if isinstance(m, LoraLayer)), [])


def trainable_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """name -> parameter, of those that an optimizer should see."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """(trainable, all) as peft counts them: a head that is trained in full counts twice, original and copy."""
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(n for n, trains in sizes if trains), sum(n for n, _ in sizes)


def print_trainable_parameters(model: nn.Module) -> None:
    """peft's line: `trainable params: 812,544 || all params: 125,253,888 || trainable%: 0.6487`."""
    trainable, total = count_parameters(model)
    print(f"trainable params: {trainable:,d} || all params: {total:,d} || trainable%: {100 * trainable / total:.4f}")


def _find_targets(model: nn.Module, config: LoraConfig, saved: dict[str, nn.Module]) -> dict[str, nn.Module]:
    """The layers whose name is a target or ends in `.target`; a layer that is wrapped already counts as itself."""
    names = {n: m for n, m in model.named_modules() if n and not _inside_wrapper(n)}
    found: dict[str, nn.Module] = {}
    for target in config.target_modules:
        matches = {n for n in names if n == target or n.endswith(f".{target}")}
        if not matches:
            raise AdapterError(f"target module {target!r} matches nothing{_nearest(target, names)}")
        found |= {name: names[name] for name in matches}
    ordered = {name: found[name] for name in names if name in found and name not in saved}
    if not ordered:
        raise AdapterError(f"target modules {', '.join(found)} are all trained in full; name layers for LoRA as well")
    for name, layer in ordered.items():
        if not (isinstance(layer, LoraLayer | nn.Linear | nn.Embedding) or is_conv1d(layer)):
            raise AdapterError(
                f"target module {name!r} is a {type(layer).__name__}; LoRA goes on Linear, Conv1D and Embedding layers"
            )
    return ordered


def _find_saved(model: nn.Module, config: LoraConfig) -> dict[str, nn.Module]:
    """The modules to train in full. Of the two usual names of a classifier's head, one is enough."""
    names = {n: m for n, m in model.named_modules() if n and not _inside_wrapper(n)}
    found: dict[str, nn.Module] = {}
    for wanted in config.modules_to_save or ():
        matches = {n: m for n, m in names.items() if n == wanted or n.endswith(f".{wanted}")}
        if not matches and not (config.task_type == "SEQ_CLS" and wanted in ("classifier", "score")):
            raise AdapterError(f"modules_to_save {wanted!r} matches nothing{_nearest(wanted, names)}")
        found |= matches
    if config.task_type == "SEQ_CLS" and not found:
        raise AdapterError("task_type SEQ_CLS needs a model with a head called score or classifier")
    return found


def _inside_wrapper(name: str) -> bool:
    return any(part in name.split(".") for part in _INSIDE)


def _nearest(wanted: str, names: dict[str, nn.Module]) -> str:
    endings = sorted(
        {name.rsplit(".", 1)[-1] for name, m in names.items() if hasattr(m, "weight") or isinstance(m, LoraLayer)}
    )
    close = difflib.get_close_matches(wanted, endings, n=3, cutoff=0.3) or endings
    return f"; the nearest modules are {', '.join(close)}" if close else ""


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)


def _switch(model: nn.Module, names: list[str]) -> None:
    """Make `names` the active adapters everywhere; what is active trains, unless it was loaded for use only."""
    if "_disabled_adapters" in model.__dict__:
        model._disabled_adapters = list(names)
    else:
        _activate(model, names)
    for module in model.modules():
        if isinstance(module, LoraLayer | ModulesToSaveWrapper):
            groups = [module.lora_A, module.lora_B] if isinstance(module, LoraLayer) else [module.modules_to_save]
            for group in groups:
                for name, part in group.items():
                    part.requires_grad_(name in names and not model.peft_config[name].inference_mode)


def _activate(model: nn.Module, names: list[str]) -> None:
    for module in model.modules():
        if isinstance(module, LoraLayer | ModulesToSaveWrapper):
            module.active_adapters = list(names)


def _chosen(model: nn.Module) -> list[str]:
    """The active adapters or, within `disable_lora`, those that will be active after it."""
    return list(model.__dict__.get("_disabled_adapters", active_adapters(model)))


def _original(wrapper: LoraLayer | ModulesToSaveWrapper) -> nn.Module:
    return wrapper.base_layer if isinstance(wrapper, LoraLayer) else wrapper.original_module


def _adapter_names(wrapper: LoraLayer | ModulesToSaveWrapper) -> list[str]:
    return list(wrapper.lora_A if isinstance(wrapper, LoraLayer) else wrapper.modules_to_save)


def _unwrap(model: nn.Module, keep) -> nn.Module:
    """Put the plain modules back; `keep` chooses what stays of a wrapper."""
    if "_trainable_before_lora" not in model.__dict__:
        return model  # no adapter was ever put in
    for name, module in list(model.named_modules()):
        if isinstance(module, LoraLayer | ModulesToSaveWrapper):
            _replace(model, name, keep(module))
    trainable = model.__dict__.pop("_trainable_before_lora")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trainable)
    model.__dict__.pop("peft_config", None)
    return model


def _wrapped(model: nn.Module) -> list[LoraLayer]:
    return [module for module in model.modules() if isinstance(module, LoraLayer)]


def _refuse_shared(model: nn.Module) -> None:
    owners: dict[int, list[str]] = {}
    for path, parameter in model.named_parameters(remove_duplicate=False):
        owners.setdefault(id(parameter), []).append(path.removesuffix(".base_layer.weight").removesuffix(".weight"))
    for name, layer in model.named_modules():
        merges = isinstance(layer, LoraLayer) and any(active in layer.lora_A for active in layer.active_adapters)
        sharing = owners[id(layer.base_layer.weight)] if merges else []
        if len(sharing) > 1:
            other = next(owner for owner in sharing if owner != name)
            raise AdapterError(
                f"{name} shares its weight with {other}, which merging would change too; keep it unmerged"
            )


def _require(model: nn.Module, name: str) -> None:
    there = list(getattr(model, "peft_config", {}))
    if name not in there:
        raise AdapterError(f"no adapter {name!r}; there is {', '.join(there) or 'none'}")

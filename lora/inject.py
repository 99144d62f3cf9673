"""Put LoRA into a loaded model, and take it out again: wrap, freeze, switch, merge, remove.

The model is changed in place and from outside; its own code knows nothing of this. `model.peft_config` (peft's
name for it) holds the LoraConfig of each adapter.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import nn

from lora.config import AdapterError, LoraConfig
from lora.layer import LoraLayer
from lora.modules_to_save import ModulesToSaveWrapper
from lora.targets import Wrapper, lora_layer, planned_wrappers, wrappers


def apply_lora(
    model: nn.Module,
    config: LoraConfig,
    adapter_name: str = "default",
    layer: Callable[[nn.Module], LoraLayer] = lora_layer,
) -> nn.Module:
    """Freeze `model` and add an adapter to it, in place. Returns the model.

    The first adapter is active and trainable; a further one waits, frozen, for `set_adapter`. The layers are
    visited in the order of `named_modules()`, which fixes the order of the random draws. `layer` wraps a target.
    Raises AdapterError for a target that matches nothing or cannot be adapted; after an error nothing is changed.
    """
    planned = plan(model, config, adapter_name, layer)
    with all_or_nothing(model):
        put_in(model, planned, config, adapter_name)
    return model


def plan(
    model: nn.Module, config: LoraConfig, adapter_name: str, layer: Callable[[nn.Module], LoraLayer]
) -> dict[str, Wrapper]:
    """path -> the wrappers that a new adapter needs; AdapterError for a name or a target that will not do."""
    require_new(model, adapter_name)
    return planned_wrappers(model, config, layer)


def put_in(model: nn.Module, planned: dict[str, Wrapper], config: LoraConfig, adapter_name: str) -> None:
    """Freeze the model, put the planned wrappers in their places and a new adapter into each."""
    configs: dict[str, LoraConfig] = getattr(model, "peft_config", {})
    active = _chosen(model)
    if not configs and not hasattr(model, "_trainable_before_lora"):
        model._trainable_before_lora = {name for name, p in model.named_parameters() if p.requires_grad}
        model.requires_grad_(False)
    for path, wrapper in planned.items():
        if model.get_submodule(path) is not wrapper:
            _replace(model, path, wrapper.train(_original(wrapper).training))
        add_adapter(wrapper, adapter_name, config)
    model.peft_config = {**configs, adapter_name: config}
    _switch(model, active if configs else [adapter_name])


def add_adapter(wrapper: Wrapper, name: str, config: LoraConfig) -> None:
    """Where a LoraConfig ends: layers take plain arguments."""
    if isinstance(wrapper, LoraLayer):
        wrapper.add_adapter(name, config.r, config.scaling, config.lora_dropout, config.init_lora_weights)
    else:
        wrapper.add_adapter(name)


@contextlib.contextmanager
def all_or_nothing(model: nn.Module) -> Iterator[None]:
    """After any exception within the block all is as before: modules, tensors, flags and the random state."""
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    kept = []
    for module in model.modules():
        attributes = vars(module)
        contents = [(held, held.copy()) for held in attributes.values() if isinstance(held, (dict, list))]
        kept.append((attributes, attributes.copy(), contents))
    random_state = torch.get_rng_state()
    try:
        yield
    except BaseException:  # Ctrl-C too
        for attributes, values, contents in kept:
            attributes.clear()
            attributes.update(values)
            for held, content in contents:  # in place: others may hold the same dictionary
                held.clear()
                held.extend(content) if isinstance(held, list) else held.update(content)
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
        torch.set_rng_state(random_state)
        raise


def remove_lora(model: nn.Module) -> nn.Module:
    """The inverse of `apply_lora`: every base layer back in its place, untouched, and all adapters gone."""
    unmerge_lora(model)
    return _unwrap(model, _original)


def merge_and_unload(model: nn.Module) -> nn.Module:
    """A plain model with the active adapters folded in: wrappers gone, trained modules (the head) in place."""
    merge_lora(model)
    return _unwrap(
        model, lambda wrapper: wrapper.current() if isinstance(wrapper, ModulesToSaveWrapper) else _original(wrapper)
    )


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
    except BaseException as error:
        if not merged_before:
            unmerge_lora(model)
        if isinstance(error, ValueError):
            raise AdapterError(str(error)) from error
        raise


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
        require(model, name)
        if names.count(name) > 1:
            raise AdapterError(f"adapter {name!r} is named twice; it would be added twice")
    if any(layer.merged_adapters for layer in _wrapped(model)):
        raise AdapterError("an adapter is merged into the weights; call unmerge_lora before switching")
    _switch(model, names)


def delete_adapter(model: nn.Module, adapter_name: str) -> None:
    """Forget one adapter. If it was the only active one, the model is the base model until `set_adapter`."""
    require(model, adapter_name)
    if any(adapter_name in layer.merged_adapters for layer in _wrapped(model)):
        raise AdapterError(f"adapter {adapter_name!r} is merged into the weights; call unmerge_lora before deleting it")
    remaining = [name for name in _chosen(model) if name != adapter_name]
    for path, wrapper in wrappers(model).items():
        if adapter_name in adapter_names(wrapper):
            wrapper.delete_adapter(adapter_name)
        if not adapter_names(wrapper):
            _replace(model, path, _original(wrapper))
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


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)


def _switch(model: nn.Module, names: list[str]) -> None:
    """Make `names` the active adapters everywhere; what is active trains, unless it was loaded for use only."""
    if "_disabled_adapters" in model.__dict__:
        model._disabled_adapters = list(names)
    else:
        _activate(model, names)
    for wrapper in wrappers(model).values():
        for group in _groups(wrapper):
            for name, part in group.items():
                part.requires_grad_(name in names and not model.peft_config[name].inference_mode)


def _activate(model: nn.Module, names: list[str]) -> None:
    for wrapper in wrappers(model).values():
        wrapper.active_adapters = list(names)


def _chosen(model: nn.Module) -> list[str]:
    """The active adapters or, within `disable_lora`, those that will be active after it."""
    return list(model.__dict__.get("_disabled_adapters", active_adapters(model)))


def _original(wrapper: Wrapper) -> nn.Module:
    return next(wrapper.children())


def _groups(wrapper: Wrapper) -> list[nn.ModuleDict | nn.ParameterDict]:
    """All that a wrapper holds beside its original: dictionaries, with an entry per adapter."""
    return list(wrapper.children())[1:]


def adapter_names(wrapper: Wrapper) -> set[str]:
    """The adapters that have a part in this wrapper."""
    return {name for group in _groups(wrapper) for name in group}


def _unwrap(model: nn.Module, keep) -> nn.Module:
    """Put the plain modules back; `keep` chooses what stays of a wrapper."""
    if "_trainable_before_lora" not in model.__dict__:
        return model  # no adapter was ever put in
    for path, wrapper in wrappers(model).items():
        _replace(model, path, keep(wrapper))
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
        merges = isinstance(layer, LoraLayer) and any(active in layer.scaling for active in layer.active_adapters)
        sharing = owners[id(layer.base_layer.weight)] if merges else []
        if len(sharing) > 1:
            other = next(owner for owner in sharing if owner != name)
            raise AdapterError(
                f"{name} shares its weight with {other}, which merging would change too; keep it unmerged"
            )


def require(model: nn.Module, name: str) -> None:
    there = list(getattr(model, "peft_config", {}))
    if name not in there:
        raise AdapterError(f"no adapter {name!r}; there is {', '.join(there) or 'none'}")


def require_new(model: nn.Module, name: str) -> None:
    if not name or "." in name:
        raise AdapterError(f"adapter name {name!r}: a name without dots is needed, it becomes part of parameter names")
    if name in getattr(model, "peft_config", {}):
        raise AdapterError(f"adapter {name!r} is there already; delete_adapter it or choose another name")

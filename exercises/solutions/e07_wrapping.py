"""Exercise 7: freeze first; what is put in afterwards trains."""

import copy

from torch import nn

from lora.layer import LoraLayer
from lora.modules_to_save import ModulesToSaveWrapper


def wrap(model: nn.Module, target_modules: list[str], r: int, lora_alpha: float) -> nn.Module:
    model.requires_grad_(False)
    for name, layer in list(model.named_modules()):  # a list: the model changes meanwhile
        if any(name == target or name.endswith(f".{target}") for target in target_modules):
            wrapped = LoraLayer(layer)
            wrapped.add_adapter("default", r, lora_alpha / r, 0.0)
            wrapped.active_adapters = ["default"]
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, wrapped)
    head = ModulesToSaveWrapper(model.score)
    head.modules_to_save["default"] = copy.deepcopy(model.score).requires_grad_(True)
    head.active_adapters = ["default"]
    model.score = head
    return model


def count_parameters(model: nn.Module) -> tuple[int, int]:
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return sum(n for n, trains in sizes if trains), sum(n for n, _ in sizes)

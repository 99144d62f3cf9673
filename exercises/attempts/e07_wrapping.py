"""Exercise 7: freeze a GPT-2, wrap it, and count. Chapter: docs/05-wrapping.md, "What trains, and how to see it".

`LoraLayer` and `ModulesToSaveWrapper` are the project's own; you put them into the model.

    wrapped = LoraLayer(layer)                                     around a Conv1D or Linear
    wrapped.add_adapter("default", r, scaling, dropout)            its A and B; scaling is the factor, not alpha
    wrapped.active_adapters = ["default"]                          now it takes part in the forward

    head = ModulesToSaveWrapper(model.score)                       a head that is trained in full:
    head.modules_to_save["default"] = ...                          a copy of it (copy.deepcopy) that trains;
    head.active_adapters = ["default"]                             the original stays inside as it was, frozen

`parent, _, child = name.rpartition(".")`, then `setattr(model.get_submodule(parent), child, wrapped)`: it is in place.
"""

import copy  # noqa: F401 - you will need it

from torch import nn

from lora.layer import LoraLayer  # noqa: F401 - you will need it
from lora.modules_to_save import ModulesToSaveWrapper  # noqa: F401 - you will need it


def wrap(model: nn.Module, target_modules: list[str], r: int, lora_alpha: float) -> nn.Module:
    """The same model, changed in place: all it had is frozen, LoRA (scaled by lora_alpha / r, no dropout) on the layers
    that `target_modules` matches (exercise 6), and a copy of `model.score` that trains in full.
    """
    raise NotImplementedError("yours to write: freeze, wrap the matching layers, wrap the head, return the model")


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """(those that train, all), in single numbers, not in tensors. For GPT-2 with r = 8 on c_attn and c_proj:

    (812544, 125253888)        811,008 in A and B, 1,536 in the head; in "all" the head stands twice
    """
    raise NotImplementedError("yours to write: return (trainable, all)")

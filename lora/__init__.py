"""The idea: LoRA on any torch model made of Linear, Conv1D and Embedding layers. Start with `layer.py`."""

from lora.checkpoint import changes_nothing, head_shape, load_adapter, lora_state_dict, save_adapter
from lora.config import AdapterError, LoraConfig
from lora.fast import use_fast, use_plain
from lora.inject import (
    active_adapters,
    apply_lora,
    count_parameters,
    delete_adapter,
    disable_lora,
    merge_and_unload,
    merge_lora,
    print_trainable_parameters,
    remove_lora,
    set_adapter,
    trainable_parameters,
    unmerge_lora,
)

__all__ = [
    "AdapterError",
    "LoraConfig",
    "active_adapters",
    "apply_lora",
    "changes_nothing",
    "count_parameters",
    "delete_adapter",
    "disable_lora",
    "head_shape",
    "load_adapter",
    "lora_state_dict",
    "merge_and_unload",
    "merge_lora",
    "print_trainable_parameters",
    "remove_lora",
    "save_adapter",
    "set_adapter",
    "trainable_parameters",
    "unmerge_lora",
    "use_fast",
    "use_plain",
]

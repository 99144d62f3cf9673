"""What is trained in full beside LoRA, as a classifier's head is: peft's `modules_to_save`."""

import copy

from torch import Tensor, nn


class ModulesToSaveWrapper(nn.Module):
    """A module that is trained in full: the original stays as it was, each adapter has a copy of its own."""

    def __init__(self, original_module: nn.Module):
        super().__init__()
        self.original_module = original_module  # the first child, as in LoraLayer
        self.modules_to_save = nn.ModuleDict()
        self.active_adapters: list[str] = []

    def forward(self, x: Tensor) -> Tensor:
        module = self.current()
        return module(x.to(next(module.parameters()).dtype))  # a trained copy is float32, also on a half base

    def current(self) -> nn.Module:
        """The copy in use: that of the first active adapter which has one, else the original."""
        for name in self.active_adapters:
            if name in self.modules_to_save:
                return self.modules_to_save[name]
        return self.original_module

    def add_adapter(self, name: str) -> None:
        """A copy to train, in float32 also on a half base."""
        self.modules_to_save[name] = copy.deepcopy(self.original_module).float()

    def adapter(self, name: str) -> dict[str, Tensor]:
        """The copy's tensors under the names that peft's files give them, which are the module's own."""
        return self.modules_to_save[name].state_dict()

    def delete_adapter(self, name: str) -> None:
        del self.modules_to_save[name]
        self.active_adapters = [active for active in self.active_adapters if active != name]

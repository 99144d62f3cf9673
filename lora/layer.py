"""The LoRA layer: a frozen layer W0 and, beside it, a low-rank update that is all that trains.

    h = W0 x + (lora_alpha / r) B A x          Hu et al. 2021, "LoRA", section 4.1

A is (r, in) and B is (out, r), whatever way round the base layer stores W0: nn.Linear has it (out, in), GPT-2's
Conv1D (in, out). A starts random and B at zero, so that the wrapped layer begins as the layer it wraps.
"""

import math

import torch
from torch import Tensor, nn


class LoraLayer(nn.Module):
    """Wraps an nn.Linear or a Conv1D. Several adapters can live side by side under names; the active ones add up."""

    def __init__(self, base_layer: nn.Module):
        super().__init__()
        self.base_layer = base_layer
        self.lora_dropout = nn.ModuleDict()
        self.lora_A = nn.ModuleDict()
        self.lora_B = nn.ModuleDict()
        self.scaling: dict[str, float] = {}
        self.active_adapters: list[str] = []
        self.merged_adapters: list[str] = []
        self.transposed = is_conv1d(base_layer) or isinstance(base_layer, nn.Embedding)  # W0 is (in, out)
        shape = tuple(base_layer.weight.shape)
        self.in_features, self.out_features = shape if self.transposed else shape[::-1]
        self._unmerged_weight: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:  # (..., in) -> (..., out)
        h = self.base_layer(x)
        dtype = h.dtype
        for name in self.active_adapters:
            if name in self.lora_A and name not in self.merged_adapters:
                A, B, dropout = self.lora_A[name], self.lora_B[name], self.lora_dropout[name]
                x = x.to(A.weight.dtype)  # a half-precision base keeps its adapter in float32
                h = h + B(A(dropout(x))) * self.scaling[name]
        return h.to(dtype)

    def add_adapter(self, name: str, r: int, scaling: float, dropout: float, init: bool | str = True) -> None:
        """A new pair A, B. The random draws are peft's, in peft's order: both nn.Linear's own, then A's again."""
        A = nn.Linear(self.in_features, r, bias=False)
        B = nn.Linear(r, self.out_features, bias=False)
        if init == "gaussian":
            nn.init.normal_(A.weight, std=1 / r)
        elif init:
            nn.init.kaiming_uniform_(A.weight, a=math.sqrt(5))  # U(-1/sqrt(in), 1/sqrt(in))
        if init:
            nn.init.zeros_(B.weight)
        W0 = self.base_layer.weight
        for part in (A, B):
            # On a half-precision base, rounded to what the base can hold, as in peft; it trains in float32 anyway.
            part.to(W0.device, W0.dtype).to(torch.promote_types(W0.dtype, torch.float32))
        self.lora_A[name], self.lora_B[name] = A, B
        self.lora_dropout[name] = nn.Dropout(dropout) if dropout > 0 else nn.Identity()
        self.scaling[name] = scaling
        for part in (self.lora_A[name], self.lora_B[name], self.lora_dropout[name]):
            part.train(self.training)

    def pair(self, name: str) -> dict[str, Tensor]:
        """A, (r, in), and B, (out, r), of an adapter under the names that peft's files give them."""
        return {"lora_A.weight": self.lora_A[name].weight, "lora_B.weight": self.lora_B[name].weight}

    @property
    def weight(self) -> Tensor:
        """W0, for code outside that asks the layer for its weight."""
        return self.base_layer.weight

    def delete_adapter(self, name: str) -> None:
        for parts in (self.lora_A, self.lora_B, self.lora_dropout, self.scaling):
            del parts[name]
        self.active_adapters = [active for active in self.active_adapters if active != name]

    def delta_weight(self, name: str) -> Tensor:
        """`scaling * B A`, the way round of the base layer's weight, in float32."""
        A, B = self.pair(name).values()
        delta = B.float() @ A.float()  # (out, in)
        return (delta.T if self.transposed else delta) * self.scaling[name]

    @torch.no_grad()
    def merge(self) -> None:
        """Fold the active adapters into W0: one rounding at the end, and W0 itself kept for the way back."""
        names = [n for n in self.active_adapters if n in self.lora_A and n not in self.merged_adapters]
        if not names:
            return
        W0 = self.base_layer.weight
        merged = W0.float()
        for name in names:
            merged = merged + self.delta_weight(name)
        if not torch.isfinite(merged).all():
            raise ValueError(f"merging {', '.join(names)} gives weights that are not finite; the adapter is damaged")
        if self._unmerged_weight is None:
            self._unmerged_weight = W0.data
        W0.data = merged.to(W0.dtype)
        self.merged_adapters += names

    def unmerge(self) -> None:
        """Put W0 back, to the bit: subtracting the update again would not."""
        if self._unmerged_weight is not None:
            self.base_layer.weight.data = self._unmerged_weight
            self._unmerged_weight = None
        self.merged_adapters = []

    def extra_repr(self) -> str:
        ranks = ", ".join(
            f"{name}: r={len(next(iter(self.pair(name).values())))}, scaling={self.scaling[name]:g}"
            for name in self.lora_A
        )
        return f"{ranks}; active={self.active_adapters}, merged={self.merged_adapters}"


class ModulesToSaveWrapper(nn.Module):
    """A module that is trained in full: the original stays as it was, each adapter has a copy of its own."""

    def __init__(self, original_module: nn.Module):
        super().__init__()
        self.original_module = original_module
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


def is_conv1d(layer: nn.Module) -> bool:
    """GPT-2's layer is known by its name, so that this project's and transformers' are wrapped alike."""
    return type(layer).__name__ == "Conv1D"

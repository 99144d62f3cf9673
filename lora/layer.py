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
        if not self.wraps(base_layer):
            raise ValueError(f"{type(self).__name__} does not go on a {type(base_layer).__name__}")
        self.base_layer = base_layer  # the first child; all others are dictionaries, filed by adapter
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

    @staticmethod
    def wraps(layer: nn.Module) -> bool:
        return isinstance(layer, nn.Linear) or is_conv1d(layer)

    def forward(self, x: Tensor) -> Tensor:  # (..., in) -> (..., out)
        h = self.base_layer(x)
        dtype = h.dtype
        for name in self.adapters_in_use():
            A, B, dropout = self.lora_A[name], self.lora_B[name], self.lora_dropout[name]
            x = x.to(A.weight.dtype)  # a half-precision base keeps its adapter in float32
            h = h + B(A(dropout(x))) * self.scaling[name]
        return h.to(dtype)

    def adapters_in_use(self) -> list[str]:
        """The active adapters of this layer that are not in W0 already."""
        return [n for n in self.active_adapters if n in self.scaling and n not in self.merged_adapters]

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

    def adapter(self, name: str) -> dict[str, Tensor]:
        """A, (r, in), B, (out, r), and what a variant adds, keyed as in peft's files: without the adapter's name."""
        own = [(path.split("."), p) for path, p in self.named_parameters() if not path.startswith("base_layer.")]
        return {".".join([part, *rest]): p for (part, owner, *rest), p in own if owner == name}

    @property
    def weight(self) -> Tensor:
        """W0, for code outside that asks the layer for its weight."""
        return self.base_layer.weight

    def delete_adapter(self, name: str) -> None:
        for parts in (*list(self.children())[1:], self.scaling):
            del parts[name]
        self.active_adapters = [active for active in self.active_adapters if active != name]

    def delta_weight(self, name: str) -> Tensor:
        """`scaling * B A`, the way round of the base layer's weight, in float32 or wider."""
        A, B, *_ = map(_widened, self.adapter(name).values())
        delta = B @ A  # (out, in)
        return (delta.T if self.transposed else delta) * self.scaling[name]

    @torch.no_grad()
    def merge(self) -> None:
        """Fold the active adapters into W0: one rounding at the end, and W0 itself kept for the way back."""
        names = self.adapters_in_use()
        if not names:
            return
        W0 = self.base_layer.weight
        merged = _widened(W0)
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
            f"{name}: r={len(next(iter(self.adapter(name).values())))}, scaling={self.scaling[name]:g}"
            for name in self.scaling
        )
        return f"{ranks}; active={self.active_adapters}, merged={self.merged_adapters}"


def _widened(part: Tensor) -> Tensor:
    """Half precision as float32: sums are rounded once, at their end."""
    return part.to(torch.promote_types(part.dtype, torch.float32))


def is_conv1d(layer: nn.Module) -> bool:
    """GPT-2's layer is known by its name, so that this project's and transformers' are wrapped alike."""
    return type(layer).__name__ == "Conv1D"

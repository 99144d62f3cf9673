"""Exercise 3: the factor in front of B A x. Chapter: docs/02-lora-layer.md, "What alpha does"."""


def scaling(lora_alpha: float, r: int, use_rslora: bool = False) -> float:
    """The factor by which a LoRA layer multiplies B A x.

    LoRA     lora_alpha / r          scaling(32, 8) is 4.0
    rsLoRA   lora_alpha / sqrt(r)    scaling(32, 16, use_rslora=True) is 8.0
    """
    raise NotImplementedError("yours to write: return the factor")

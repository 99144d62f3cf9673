"""Exercise 3: twice the rank, half the factor; with rsLoRA, a root less."""

import math


def scaling(lora_alpha: float, r: int, use_rslora: bool = False) -> float:
    return lora_alpha / (math.sqrt(r) if use_rslora else r)

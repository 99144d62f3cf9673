"""Exercise 3: against LoraConfig.scaling."""

import math
from collections.abc import Callable

from exercises.judge import compare
from lora import LoraConfig

TITLE = "The scaling, and rsLoRA's"
CHAPTER = "docs/02-lora-layer.md"
HINT = "two divisions, chosen by use_rslora; nothing of the layer's shape comes in."
SEE = "lora/config.py, LoraConfig.scaling"

MISTAKES = {
    "you scaled by alpha alone: the rank is missing": lambda alpha, r, rs=False: alpha,
    "alpha is missing: 1/r keeps the size of the update, alpha sets it": lambda alpha, r, rs=False: (
        1 / (math.sqrt(r) if rs else r)
    ),
    "upside down: that is r / alpha": lambda alpha, r, rs=False: (math.sqrt(r) if rs else r) / alpha,
    "use_rslora has no effect: with it, divide by sqrt(r)": lambda alpha, r, rs=False: alpha / r,
    "you divide by sqrt(r) always: that is rsLoRA's factor, LoRA's is alpha / r": lambda alpha, r, rs=False: (
        alpha / math.sqrt(r)
    ),
    "the two are exchanged: it is rsLoRA that has the root": lambda alpha, r, rs=False: (
        alpha / (r if rs else math.sqrt(r))
    ),
    "that is whole-number division: 8 // 16 is 0, and the update is gone": lambda alpha, r, rs=False: (
        alpha / math.sqrt(r) if rs else alpha // r
    ),
    "the root covers alpha too: it is alpha / sqrt(r), not sqrt(alpha / r)": lambda alpha, r, rs=False: (
        math.sqrt(alpha / r) if rs else alpha / r
    ),
    "you multiply by the rank: a larger r would make the update larger still": lambda alpha, r, rs=False: (
        alpha * (math.sqrt(r) if rs else r)
    ),
}


def by_the_project(lora_alpha: float, r: int, use_rslora: bool = False) -> float:
    return LoraConfig(r=r, lora_alpha=lora_alpha, use_rslora=use_rslora).scaling


def check(scaling: Callable) -> None:
    calls = [(32, 8), (32, 64), (8, 16), (1, 4), (2.5, 3), (32, 16, True), (8, 64, True), (1, 2, True)]
    cases = {f"scaling({', '.join(map(str, arguments))})": arguments for arguments in calls}
    compare(scaling, by_the_project, cases, MISTAKES)

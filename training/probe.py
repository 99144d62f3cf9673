"""How fast this CPU multiplies float32 and bf16 matrices of a model's own shape, found out in a moment."""

import math
import time

import torch

ENOUGH = 1.5  # times as fast: below that, what bf16 saves in a run is not worth its rounding
ROWS = 256
PATIENCE = 0.05  # seconds that a product in bf16 may be expected to take


def matrix_rates(width: int) -> tuple[float, float]:
    """FLOP/s of torch.mm in (float32, bf16) on (ROWS, width) @ (width, 3 width): GPT-2's c_attn at n_embd = `width`.

    bf16 begins with two rows and gets more while PATIENCE lasts: without an instruction of its own for it a processor
    may multiply bf16 a hundred times slower, and the whole product would take seconds.
    """
    fp32 = _rate(torch.float32, width, ROWS)
    for rows in (2, 8, 32, 128, ROWS):
        bf16 = _rate(torch.bfloat16, width, rows)
        if _flop(width, 4 * rows) / bf16 > PATIENCE:
            break
    return fp32, bf16


def _rate(dtype: torch.dtype, width: int, rows: int) -> float:
    """The best of at least two turns, and of as many as fit into 20 ms: short products are easily disturbed."""
    x, weight = torch.ones(rows, width, dtype=dtype), torch.ones(width, 3 * width, dtype=dtype)
    best, turns, start = math.inf, 0, time.perf_counter()
    while turns < 2 or time.perf_counter() - start < 0.02:
        began = time.perf_counter()
        torch.mm(x, weight)
        best, turns = min(best, time.perf_counter() - began), turns + 1
    return _flop(width, rows) / best


def _flop(width: int, rows: int) -> int:
    return 2 * rows * width * 3 * width


def cheaper_precision(width: int) -> tuple[str, str]:
    """("bf16" or "fp32", the reason in words, with both rates)."""
    fp32, bf16 = matrix_rates(width)
    rates = f"({bf16 / 1e9:.3g} against {fp32 / 1e9:.3g} GFLOP/s)"
    if bf16 >= ENOUGH * fp32:
        return "bf16", f"bf16 is faster here {rates}"
    return "fp32", f"bf16 is {'slower' if bf16 < fp32 else 'hardly faster'} here {rates}"

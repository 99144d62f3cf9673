"""What the frozen matrices alone cost: how much arithmetic a step needs, and how fast torch.mm does it here.

Letters:  N real tokens of a batch   B its rows
A product (N, in) x (in, out) counts 2 N in out FLOP. Per block there are four frozen matrices. Forward, each is
multiplied once; backward, once more for the gradient of its input, never for its own. Left out is what no answer needs:
after the attention of the last block only the B scored tokens go on, and nothing is trained below the first c_attn.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from training.probe import matrix_rates

SAMPLED = 4  # every so manieth block is timed: enough not to find its weights in a cache


class Product(NamedTuple):
    matrix: int  # c_attn, attn.c_proj, mlp.c_fc, mlp.c_proj
    backward: bool
    height: int  # N or B
    times: int


def products_of_step(blocks: int, tokens: int, rows: int) -> list[Product]:
    c_attn = [Product(0, False, tokens, blocks), Product(0, True, tokens, blocks - 1)]
    others = [(matrix, backward) for matrix in (1, 2, 3) for backward in (False, True)]
    inner = [Product(*which, tokens, blocks - 1) for which in others]
    last = [Product(*which, rows, 1) for which in others]
    return [product for product in c_attn + inner + last if product.times]


def flop_of_step(shapes: list[tuple[int, int]], blocks: int, tokens: int, rows: int) -> int:
    """`shapes` are (in, out) of a block's four matrices."""
    return sum(p.times * 2 * p.height * shapes[p.matrix][0] * shapes[p.matrix][1]
               for p in products_of_step(blocks, tokens, rows))  # fmt: skip


@torch.no_grad()
def time_products(
    blocks: list[list[Tensor]], tokens: int, rows: int, dtype: torch.dtype, clock: Callable[[], float]
) -> dict[str, float]:
    """{"seconds", "flop"} of a step's products through torch.mm into results that exist already.

    `blocks` are the four weights (in, out) of each block. Some blocks are timed, and stand for the rest. `clock` gives
    seconds, and waits for the weights' device.
    """
    device = blocks[0][0].device
    shapes = [tuple(weight.shape) for weight in blocks[0]]
    sample = [[weight.to(dtype) for weight in block] for block in blocks[::SAMPLED]]
    seconds = 0.0
    for matrix, backward, height, times in products_of_step(len(blocks), tokens, rows):
        width, result = shapes[matrix][::-1] if backward else shapes[matrix]
        x = torch.randn(height, width).to(device, dtype)
        y = torch.empty(height, result, dtype=dtype, device=device)
        weights = [block[matrix].t() if backward else block[matrix] for block in sample]
        if device.type != "cpu":  # where the first product of a shape chooses its kernel
            torch.mm(x, weights[0], out=y)
        began = clock()
        for weight in weights:
            torch.mm(x, weight, out=y)
        seconds += times * (clock() - began) / len(weights)
    return {"seconds": seconds, "flop": flop_of_step(shapes, len(blocks), tokens, rows)}


def bf16_pays(width: int = 768, device: str = "cpu") -> tuple[bool, str]:
    """Whether this CPU multiplies bf16 faster than fp32, and the sentence that says so with both rates.

    The lanes in bf16 run from a lower threshold than `--precision auto` has: what hardly pays is worth seeing too.
    A GPU is asked whether it has the instructions.
    """
    if device == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return native, f"this GPU multiplies bf16 {'natively' if native else 'not natively: it does not pay'}"
    fp32, bf16 = matrix_rates(width)
    pays = bf16 > 1.1 * fp32
    return pays, f"torch.mm here: fp32 {fp32 / 1e9:.1f} GFLOP/s, bf16 {bf16 / 1e9:.1f}; bf16 " + (
        "pays" if pays else "does not pay"
    )

"""Where an update sits and what it is made of, layer by layer; and how much of another run's lies in its directions."""

import re
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from anatomy.opened import ADAPTER, Opened, factors
from anatomy.spectrum import Spectrum, dense_values, energy_in, overlap, stable_rank

LARGEST = 32  # singular values of a dense update that are told
PARTS = ("q", "k", "v")  # of c_attn, whose outputs stand side by side
_MATRIX = re.compile(r"transformer\.(wte|wpe|h\.\d+\..*c_\w+)\.weight")


def place_of(path: str) -> dict[str, Any]:
    """`transformer.h.0.attn.c_attn` -> its short name, its block (None outside the blocks) and its module."""
    layer = path.removeprefix("transformer.")
    found = re.fullmatch(r"h\.(\d+)\.(.+)", layer)
    return {"layer": layer, "block": int(found[1]) if found else None, "module": found[2] if found else layer}


def low_rank_updates(opened: Opened) -> list[dict[str, Any]]:
    """A row for each layer with an update, and below c_attn's one each for q, k and v."""
    rows = []
    for path, layer in opened.layers.items():
        A, B = factors(layer)
        W0 = out_in(layer.base_layer)
        for part, span in spans(path, len(B)):
            spectrum = Spectrum.of(A, B[span], layer.scaling[ADAPTER])
            rows.append(place_of(path) | row_of(part, spectrum.values, W0[span]))
    return rows


def dense_updates(opened: Opened) -> dict[str, tuple[Tensor, Tensor]]:
    """path -> (dW, W0), both (out, in), of the matrices of a run that trained whole weights.

    Raises AdapterError where the base is not on this machine.
    """
    tuned, base = dict(opened.model.named_modules()), opened.whole_base
    found = {}
    for path, module in base.named_modules():
        if _MATRIX.fullmatch(f"{path}.weight"):
            W0 = out_in(module).float()
            found[path] = (out_in(tuned[path]).float() - W0, W0)
    return found


def dense_rows(updates: dict[str, tuple[Tensor, Tensor]], r: int) -> list[dict[str, Any]]:
    """Rows as `low_rank_updates` gives them, with the largest singular values and the energy in the first r."""
    rows = []
    for path, (update, W0) in updates.items():
        for part, span in spans(path, len(update)):
            values = dense_values(update[span])
            row = row_of(part, values[:LARGEST], W0[span]) | {"norm": float(values.norm())}
            row |= {"relative": row["norm"] / float(W0[span].norm()), "stable_rank": stable_rank(values)}
            rows.append(place_of(path) | row | {"energy_in_r": energy_in(values, r)})
    return rows


def overlaps(opened: Opened, updates: dict[str, tuple[Tensor, Tensor]]) -> list[dict[str, Any]]:
    """How much of each dense update lies in the output directions of the low-rank one of the same layer, and how much
    would by chance."""
    rows = []
    for path, layer in opened.layers.items():
        if path in updates:
            A, B = factors(layer)
            spectrum = Spectrum.of(A, B, layer.scaling[ADAPTER])
            directions = spectrum.left[:, : spectrum.rank]
            chance = directions.shape[1] / len(B)
            rows.append(place_of(path) | {"value": overlap(directions, updates[path][0]), "chance": chance})
    return rows


def row_of(part: str | None, values: Tensor, W0: Tensor) -> dict[str, Any]:
    norm = float(values.norm())
    return {
        "part": part, "norm": norm, "relative": norm / float(W0.double().norm()),
        "singular_values": values.tolist(), "stable_rank": stable_rank(values),
    }  # fmt: skip


def spans(path: str, outputs: int) -> Iterator[tuple[str | None, slice]]:
    """The whole layer; of c_attn then the thirds of its outputs, too."""
    yield None, slice(outputs)
    if path.endswith("attn.c_attn"):
        third = outputs // 3
        yield from ((part, slice(i * third, (i + 1) * third)) for i, part in enumerate(PARTS))


def out_in(module: nn.Module) -> Tensor:
    """A layer's weight as (out, in), sharing its memory: only nn.Linear stores it so."""
    return module.weight.detach() if isinstance(module, nn.Linear) else module.weight.detach().T

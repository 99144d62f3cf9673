"""What one detail costs: the same run with a single thing spelled differently, each way equal on paper.

LoRA dropout is off, so that forms that cannot have it take part, all others are on; alpha / r is 2.5, because a power
of two scales without rounding. Nothing here is right or wrong: it shows why two correct codes print different digits.
"""

import contextlib
import dataclasses
import unittest.mock
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

import data.task
import gpt2.model
import lora.layer
import train
from benchmarks.equality import side_by_side as pairs
from benchmarks.equality.comparisons import EXACT

SHAPE = pairs.Shape(n_layer=2, n_embd=132, n_head=12)
SDPA, COLLATE, BUILD = F.scaled_dot_product_attention, data.task.collate, train.build_optimizer


@dataclass(frozen=True)
class Detail:
    """The distance of a changed run from the unchanged one."""

    name: str
    first_ulps: int  # of the first step's loss, in units of its last place as a float32
    most_ulps: int  # of any step's loss
    max_abs_diff: float  # of the trained tensors at the end


def _delta(layer: lora.layer.LoraLayer) -> Tensor:
    """s B A, as (out, in), with gradients."""
    (name,) = layer.active_adapters
    return layer.lora_B[name].weight @ layer.lora_A[name].weight * layer.scaling[name]


def lora_functional(layer, x):
    """loralib's way: parameters, not layers."""
    (name,) = layer.active_adapters
    update = x @ layer.lora_A[name].weight.T @ layer.lora_B[name].weight.T
    return layer.base_layer(x) + update * layer.scaling[name]


def lora_scaled_early(layer, x):
    (name,) = layer.active_adapters
    return layer.base_layer(x) + layer.lora_B[name](layer.lora_A[name](x) * layer.scaling[name])


def lora_as_one_matrix(layer, x):
    """The update as a matrix of its own: (B A) x."""
    return layer.base_layer(x) + F.linear(x, _delta(layer))


def lora_in_the_weight(layer, x):
    """minLoRA's way, a parametrized weight: (W0 + s B A) x."""
    base = layer.base_layer
    return F.linear(x, base.weight.T + _delta(layer), base.bias)


def conv1d_matmul(layer, x):
    return x @ layer.weight + layer.bias


def conv1d_as_linear(layer, x):
    return F.linear(x, layer.weight.T.contiguous(), layer.bias)


def attention_contiguous(q, k, v, **how):
    """What a key-value cache does to k and v."""
    return SDPA(q, k.contiguous(), v.contiguous(), **how)


def attention_spelled_out(q, k, v, attn_mask, dropout_p, is_causal, scale):
    if is_causal:
        attn_mask = torch.ones(q.shape[2], q.shape[2], dtype=torch.bool).tril()
    weights = (q @ k.transpose(2, 3) * scale).masked_fill(~attn_mask, -torch.inf).softmax(-1)
    return F.dropout(weights, dropout_p) @ v


def adamw_unfused(*arguments):
    optimizer = BUILD(*arguments)
    groups = [{key: g[key] for key in ("params", "weight_decay")} for g in optimizer.param_groups]
    return torch.optim.AdamW(groups, lr=optimizer.param_groups[0]["lr"], fused=False, foreach=False)


def clip_flat(model, max_norm):
    """The norm of one long vector instead of the norm of norms."""
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    norm = torch.cat([g.flatten() for g in gradients]).norm()
    for gradient in gradients:
        gradient.mul_(torch.clamp(max_norm / (norm + 1e-6), max=1.0))
    return norm


def collate_wide(ids, pad_token_id, labels=None):
    """Every batch padded to one width: other shapes, other dropout masks."""
    batch = COLLATE([*ids, [pad_token_id] * SHAPE.n_positions], pad_token_id, None)
    return data.Batch(batch.input_ids[:-1], batch.attention_mask[:-1], torch.tensor(labels))


class Threads:
    """So many threads while the block lasts."""

    def __init__(self, number: int):
        self.number = number

    def __enter__(self) -> None:
        self.before = torch.get_num_threads()
        torch.set_num_threads(self.number)

    def __exit__(self, *_: object) -> None:
        torch.set_num_threads(self.before)


replace = unittest.mock.patch.object
LAYER, CONV1D, SDP = lora.layer.LoraLayer, gpt2.model.Conv1D, "scaled_dot_product_attention"
DETAILS: dict[str, contextlib.AbstractContextManager] = {
    "nothing": contextlib.nullcontext(),
    "LoRA as functions: x A^T B^T s": replace(LAYER, "forward", lora_functional),
    "LoRA scaled between A and B": replace(LAYER, "forward", lora_scaled_early),
    "LoRA's update as one matrix": replace(LAYER, "forward", lora_as_one_matrix),
    "LoRA added to the weight": replace(LAYER, "forward", lora_in_the_weight),
    "Conv1D: x W + b, not addmm": replace(CONV1D, "forward", conv1d_matmul),
    "Conv1D as nn.Linear": replace(CONV1D, "forward", conv1d_as_linear),
    "k and v copied to be contiguous": replace(F, SDP, attention_contiguous),
    "attention spelled out": replace(F, SDP, attention_spelled_out),
    "torch's own tanh GELU": replace(gpt2.model, "gelu_new", lambda x: F.gelu(x, approximate="tanh")),
    "AdamW without fused=True": replace(train, "build_optimizer", adamw_unfused),
    "the gradient norm of one vector": replace(train, "clip_gradients", clip_flat),
    "two threads instead of one": Threads(2),
    "no draw at the start of an epoch": replace(train, "draw_for_epoch", lambda: None),
    "every batch padded to one width": replace(data.task, "collate", collate_wide),
}


def ulps(a: list[float], b: list[float]) -> list[int]:
    """How many float32 values lie between two positive numbers, pair by pair."""
    bits = [torch.tensor(values, dtype=torch.float32).view(torch.int32).long() for values in (a, b)]
    return (bits[1] - bits[0]).tolist()


def details(work: Path, names: Iterable[str] = DETAILS, epochs: int = 2) -> Iterator[tuple[Detail, pairs.Record]]:
    """The run with each named change, and how far it ends up from the run with none."""
    base, task = pairs.write_base(work, SHAPE), pairs.random_task(SHAPE, 23)
    config = dataclasses.replace(EXACT, lora_dropout=0.0, lora_alpha=20.0, num_train_epochs=epochs)
    unchanged = pairs.train_ours(base, task, config)
    for name in names:
        with DETAILS[name]:
            run = pairs.train_ours(base, task, config)
        distance = [abs(d) for d in ulps(unchanged.losses, run.losses)]
        ends = [(unchanged.tensors[key] - tensor).abs().max().item() for key, tensor in run.tensors.items()]
        yield Detail(name, distance[0], max(distance), max(ends)), run

"""What a step of training keeps in memory, counted: weights, gradients, AdamW's two averages, activations."""

import contextlib
from typing import Any

import torch
from torch import Tensor, nn

import lora
from anatomy.opened import Opened, asking

_NUMBER = 4  # bytes of float32, in which weights train


def memory(opened: Opened, batch: Any | None) -> list[dict[str, Any]]:
    """A row in bytes for the head alone, for LoRA where the run has one, and for full fine-tuning.

    `activations`, which grow with the batch, are there where a batch of training rows is given.
    """
    apart = [p for group in opened.groups.values() for p in group] if opened.base else []
    known = {id(p) for p in apart}
    base = {name: p for name, p in opened.model.named_parameters() if id(p) not in known}
    head = [p for name, p in base.items() if name.startswith("score.")]
    rows = []
    for way, held, trained in (
        ("head", list(base.values()), head), ("lora", [*base.values(), *apart], apart),
        ("full", list(base.values()), list(base.values())),
    ):  # fmt: skip
        if trained:
            weights, n = (_NUMBER * sum(p.numel() for p in some) for some in (held, trained))
            rows.append({"name": way, "weights": weights, "gradients": n, "optimizer": 2 * n})
            if batch is not None:
                rows[-1]["activations"] = activations(opened, batch, trained, way)
    return rows


def activations(opened: Opened, batch: Any, trained: list[nn.Parameter], way: str) -> int:
    """Bytes that a forward pass of `batch`, with dropout, keeps for the backward pass; weights are not counted."""
    model = opened.model
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, Tensor] = {}  # held here, so that no two have the same address

    def note(tensor: Tensor) -> Tensor:
        address = tensor.untyped_storage().data_ptr()
        if address not in weights:
            kept[address] = tensor
        return tensor

    sent = batch.to(opened.place.device)
    adapter = contextlib.nullcontext() if way == "lora" or not opened.base else lora.disable_lora(model)
    with adapter, asking(trained), torch.random.fork_rng(), opened.place.autocast():
        model.train()
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            loss = model(sent.input_ids, sent.attention_mask, labels=sent.labels).loss
        model.eval()
        del loss
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())

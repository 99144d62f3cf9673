"""How the gradients of A, of B and of the head have changed over a run: computed afterwards, from its snapshots."""

from typing import Any

import torch
from torch import nn

from anatomy.opened import ADAPTER, Opened, asking, factors


def gradient_norms(opened: Opened, batch: Any) -> list[dict[str, Any]]:
    """At each kept step the loss on one batch, dropout off, the norms of its gradients, and |dW| of all layers but the
    embedding."""
    rows, groups = [], opened.groups
    parameters = [p for group in groups.values() for p in group]
    sent = batch.to(opened.place.device)
    for step in opened.steps:
        with opened.at(opened.snapshot(step)), asking(parameters), opened.place.autocast():
            loss = opened.model(sent.input_ids, sent.attention_mask, labels=sent.labels).loss
            found = iter(torch.autograd.grad(loss, parameters))
            row: dict[str, Any] = {"step": step, "loss": loss.item(), "update": update_norm(opened)}
        for name, group in groups.items():
            row[name] = torch.stack([next(found).float().norm() for _ in group]).norm().item()
        rows.append(row)
    return rows


def update_norm(opened: Opened) -> float:
    """|dW| of all adapted layers together, an embedding's not among them, as B A is now."""
    total = 0.0
    for layer in opened.layers.values():
        if not isinstance(layer.base_layer, nn.Embedding):
            A, B = (factor.double() for factor in factors(layer))
            total += layer.scaling[ADAPTER] ** 2 * float(((A @ A.T) * (B.T @ B)).sum())  # |B A|^2, without B A
    return max(0.0, total) ** 0.5

"""Run a model over batches without dropout and without a graph. A request to stop breaks it off: Stopped."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from training.device import Place
from training.metrics import classification_metrics
from training.signals import stop_together, stop_wanted


class Inputs(Protocol):
    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor | None

    def to(self, device: torch.device) -> "Inputs": ...


def predict(model: nn.Module, batches: Iterable[tuple[Sequence[int], Inputs]], rows: int, place: Place) -> Tensor:
    """Logits (rows, C) on the CPU in float32. Each batch comes with its row numbers, so any order will do.

    Several processes share the batches, and all get all the logits: the sum of theirs and the others' zeros.
    """
    was_training = model.training
    model.eval()
    result: Tensor | None = None
    with torch.inference_mode(), place.autocast():
        for numbers, batch in place.ranks.share(batches):
            if stop_wanted():
                break
            batch = batch.to(place.device)
            logits = model(batch.input_ids, batch.attention_mask).logits.float().cpu()
            result = logits.new_zeros(rows, logits.shape[1]) if result is None else result
            result[list(numbers)] = logits
    model.train(was_training)
    stop_together(place.ranks)
    n_labels = place.ranks.max(0 if result is None else result.shape[1])
    return place.ranks.total(torch.zeros(rows, n_labels) if result is None else result)


def summed_loss(model: nn.Module, batches: Iterable[Inputs], place: Place) -> float:
    """Nats that all targets of the batches cost together, over all processes."""
    was_training = model.training
    model.eval()
    total = 0.0
    with torch.inference_mode(), place.autocast():
        for batch in place.ranks.share(batches):
            if stop_wanted():
                break
            batch = batch.to(place.device)
            total += model(batch.input_ids, batch.attention_mask, labels=batch.labels, reduction="sum").loss.item()
    model.train(was_training)
    stop_together(place.ranks)
    return place.ranks.sum(total)


def evaluate(
    model: nn.Module, batches: Iterable[tuple[Sequence[int], Inputs]], labels: Sequence[int], place: Place
) -> dict[str, Any]:
    """The scores of `classification_metrics` for the rows whose labels are given."""
    logits = predict(model, batches, len(labels), place)
    return classification_metrics(logits, torch.tensor(labels))


def score_baselines(answers: Mapping[str, Sequence[Sequence[float]]], labels: Sequence[int]) -> dict[str, Any]:
    """The scores of rules that give each row a probability per label."""
    truth = torch.tensor(labels)
    return {
        name: classification_metrics(torch.tensor(rows).clamp_min(1e-12).log(), truth) for name, rows in answers.items()
    }

"""One text, looked at: what the model says after each prefix, without each token, and what each layer's update adds.

All of it in log-odds, in nats: probabilities saturate, and differences of them say nothing near 0 and 1.
"""

import dataclasses
from typing import Any

import torch
from torch import Tensor

import data
from anatomy.opened import ADAPTER, Opened
from anatomy.updates import place_of
from lora.targets import wrappers
from training.evaluation import predict

AT_ONCE = 64  # rows of a forward pass


def classified(opened: Opened, text: str, notes: list[str]) -> dict[str, Any]:
    """The contract's "text" of a classifier. Raises DataError for an empty text."""
    ids, cut = opened.encode(text)
    row = torch.tensor([ids], device=opened.place.device)
    tuned = probabilities(opened, text)
    names = opened.classifier.label_names
    label = 1 if len(names) == 2 else max(range(len(names)), key=tuned.__getitem__)
    found: dict[str, Any] = {"text": text, "cut": cut, "bytes": len(text.encode()), "tokens": tokens(opened, ids)}
    found |= {"pooled": len(ids) - 1, "label_names": names, "label": names[label], "tuned": tuned}
    found["prefix"] = {"tuned": log_odds(prefix_logits(opened, row), label)}
    try:
        with opened.untrained() as base:
            found["base"] = probabilities(opened, text, base)
            found["prefix"]["base"] = log_odds(prefix_logits(opened, row, base), label)
    except ValueError as error:
        notes.append(f"no base beside the tuned model: {error}")
    found["leave_one_out"] = leave_one_out(opened, ids, label)
    found["contributions"] = contributions(opened, row, label) if opened.base else []
    if not opened.base:
        notes.append("what each layer adds is told of LoRA alone: whole weights cannot be switched one by one")
    return found


def probabilities(opened: Opened, text: str, model: Any = None) -> list[float]:
    """As infer.py answers, with the model as it is now or with another one."""
    asked = opened.classifier if model is None else dataclasses.replace(opened.classifier, model=model)
    return asked.probabilities([text])[0]


def tokens(opened: Opened, ids: list[int]) -> list[dict[str, Any]]:
    """Id, text and bytes; a token may be part of a character, whose text is then no text."""
    kinds = [(token, opened.tokenizer.token_bytes(token)) for token in ids]
    return [{"id": token, "text": raw.decode(errors="replace"), "bytes": list(raw)} for token, raw in kinds]


@torch.inference_mode()
def prefix_logits(opened: Opened, row: Tensor, model: Any = None) -> Tensor:
    """Logits (T, C) after each prefix of `row` (1, T): no token sees a later one, so one pass gives them all."""
    asked = model or opened.model
    with opened.place.autocast():
        return asked.score(asked.transformer(row).last_hidden_state)[0].float().cpu()


def log_odds(logits: Tensor, label: int) -> list[float]:
    """(N, C) -> N numbers, log p / (1 - p) of that label, in nats."""
    logits = logits.double()
    others = torch.cat([logits[:, :label], logits[:, label + 1 :]], dim=1)
    return (logits[:, label] - others.logsumexp(dim=1)).tolist()


def leave_one_out(opened: Opened, ids: list[int], label: int) -> list[float]:
    """For each token, the log-odds without it less those with it; [] of a single token."""
    if len(ids) < 2:
        return []
    rows = [ids, *(ids[:i] + ids[i + 1 :] for i in range(len(ids)))]
    batches = ((at, data.collate([rows[i] for i in at], 0)) for at in data.by_length(rows, AT_ONCE))
    whole, *without = log_odds(predict(opened.model, batches, len(rows), opened.place), label)
    return [value - whole for value in without]


@torch.inference_mode()
def contributions(opened: Opened, row: Tensor, label: int) -> list[dict[str, Any]]:
    """What each adapted layer adds to the log-odds when they are switched on one by one, in forward order, the head
    last. The sum is the difference between tuned and base; another order would share it out otherwise."""
    chain, found = wrappers(opened.model), []

    def value() -> float:
        return log_odds(prefix_logits(opened, row)[-1:], label)[0]

    try:
        for wrapper in chain.values():
            wrapper.active_adapters = []
        before = value()
        for path, wrapper in chain.items():
            wrapper.active_adapters = [ADAPTER]
            now = value()
            found.append({"layer": place_of(path)["layer"], "value": now - before})
            before = now
    finally:
        for wrapper in chain.values():
            wrapper.active_adapters = [ADAPTER]
    return found

"""What held-out text costs a language model, in bits a byte; and that as the task which train.fit evaluates."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from corpus import HeldOut
from torch import Tensor, nn

from training.device import Place
from training.metrics import Metric
from training.state import RunState

WINDOWS, AT_THE_END = 64, 512  # of each corpus


def per_corpus(bits: dict[str, float]) -> str:
    return ", ".join(f"{corpus} {value:.3f}" for corpus, value in bits.items())


@dataclass(frozen=True)
class HeldOutTexts:
    """The held-out documents of each corpus. The last evaluation, after `total` steps, looks at more of them."""

    parts: Sequence[HeldOut]
    state: RunState
    total: int

    metrics = (
        Metric("loss", "loss", "{:.4f}".format, higher_is_better=False, in_progress=True),
        Metric("bits_per_byte", "bits a byte", per_corpus, in_progress=True),
    )
    rows = SimpleNamespace(split=SimpleNamespace(val=True))  # there is something to evaluate on besides test rows

    def scores(self, part: str, model: nn.Module, batch_size: int, place: Place) -> dict[str, Any]:
        """`loss`, nats a token, is the mean over the corpora; `bits_per_byte` has each corpus by its name."""
        windows = AT_THE_END if self.state.step == self.total else WINDOWS
        nats = [evaluate(model, text.tokens, place, windows) for text in self.parts]
        bits = {text.corpus: text.bits_per_byte(cost) for text, cost in zip(self.parts, nats)}
        return {"loss": sum(nats) / len(nats), "bits_per_byte": bits}

    def samples(self, model: nn.Module, place: Place) -> list[str]:
        return []


def bits_per_byte(model: nn.Module, part: HeldOut, place: Place, windows: int | None = None) -> float:
    """The model's loss on held-out text: what a byte costs, in bits, over `windows` windows (None: all)."""
    return part.bits_per_byte(evaluate(model, part.tokens, place, windows))


@torch.no_grad()
def evaluate(model: nn.Module, tokens: Tensor, place: Place, windows: int | None = None) -> float:
    """Mean loss in nats a token over `windows` held-out windows of the context's length, evenly spaced (None: all)."""
    model.eval()
    length = min(model.config.n_positions, len(tokens))
    rows = tokens[: len(tokens) // length * length].view(-1, length)
    if windows and windows < len(rows):
        rows = rows[torch.linspace(0, len(rows) - 1, windows).long()]
    with place.autocast():
        losses = [model(r, labels=r).loss * len(r) for r in rows.to(place.device).split(32)]
    return torch.stack(losses).sum().item() / len(rows)

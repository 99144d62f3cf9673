"""Progress of the loop: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor
from tqdm import tqdm

from training.metrics import Metric


class Inputs(Protocol):
    input_ids: Tensor
    tokens: int


class Progress:
    """Shows, every `every` steps, the mean loss, the rate of real tokens and the share of padding in the batches.

    `packed` says that the model leaves the padding out instead of computing it.
    """

    def __init__(self, total_steps: int, start: int, every: int, packed: bool = False):
        # tqdm's own "disable where this is no terminal" would stay silent; there we print lines instead.
        self.bar = tqdm(total=total_steps, initial=start, unit="step", disable=not sys.stderr.isatty())
        self.total_steps, self.every = total_steps, every
        self.left_out = " left out" if packed else ""
        self._reset()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: Any) -> None:
        self.bar.close()

    def step(self, step: int, loss: float, batches: Sequence[Inputs], all_tokens: int) -> None:
        """Note one optimizer step; `all_tokens` are those of all processes, `batches` this one's."""
        self.losses.append(loss)
        self.tokens += sum(batch.tokens for batch in batches)
        self.all_tokens += all_tokens
        self.positions += sum(batch.input_ids.numel() for batch in batches)
        self.bar.update(1)
        if len(self.losses) < self.every and step < self.total_steps:
            return
        rate = self.all_tokens / (time.perf_counter() - self.began)
        padding = 1 - self.tokens / self.positions
        mean = sum(self.losses) / len(self.losses)
        text = f"loss {mean:.4f}, {rate:,.0f} real tokens/s, {padding:.0%} padding{self.left_out}"
        if self.bar.disable:
            print(f"step {step}/{self.total_steps}: {text}", flush=True)
        else:
            self.bar.set_postfix_str(text)
        self._reset()

    def evaluated(
        self, step: int, scores: dict[str, Any], metrics: Sequence[Metric], samples: Sequence[str] = ()
    ) -> None:
        """Show an evaluation; its time does not count as training time."""
        shown = ", ".join(f"{m.head} {m.text(scores[m.name])}" for m in metrics if m.in_progress)
        self.say(f"step {step}: held out {shown}")
        for text in samples:
            self.say(text)
        self._reset()

    def say(self, line: str) -> None:
        """A line of its own, above the bar. A terminal without some character of it must not end a run."""
        encoding = sys.stdout.encoding or "utf-8"
        line = line.encode(encoding, "replace").decode(encoding)
        if self.bar.disable:
            print(line, flush=True)
        else:
            self.bar.write(line)

    def _reset(self) -> None:
        self.began, self.all_tokens, self.tokens, self.positions = time.perf_counter(), 0, 0, 0
        self.losses: list[float] = []

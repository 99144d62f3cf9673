"""Dials with made-up numbers, which answer as `anatomy.dial.Dial` does."""

import math
from typing import Any


class Made:
    """Two labels; each word adds its length to the log-odds, times strength, rank and time."""

    steps, best, best_step, ranks, task = [0, 20, 40, 60], 40, 40, [1, 2, 3, 4], "classification"
    names = ["ham", "spam"]

    def gain(self, step: int | None, rank: int | None, strength: float) -> float:
        return strength * (1 if rank is None else rank / 4) * (1 if step is None else step / 40)

    def answer(
        self, text: str, step: int | None = None, rank: int | None = None, strength: float = 1.0
    ) -> dict[str, Any]:
        words = [w if i == 0 else f" {w}" for i, w in enumerate(text.split(" "))][:64]
        base = [-0.1 * (i + 1) for i in range(len(words))]
        gain = self.gain(step, rank, strength)
        tuned = [b + gain * (len(w) - 3) for b, w in zip(base, words)]
        return {"tokens": [{"id": i, "text": w, "bytes": list(w.encode())} for i, w in enumerate(words)],
                "label_names": self.names, "label": "spam", "cut": len(text.split(" ")) > 64, "pooled": len(words) - 1,
                "base": both(base[-1]), "tuned": both(tuned[-1]), "prefix": {"base": base, "tuned": tuned}}  # fmt: skip

    def spectrum(self, step: int | None = None, rank: int | None = None, strength: float = 1.0) -> list[dict[str, Any]]:
        gain = self.gain(step, None, strength)
        return [{"layer": f"h.{b}.{m}", "singular_values": [gain / (1 + i) for i in range(rank or 4)]}
                for b in range(2) for m in ("attn.c_attn", "mlp.c_fc")]  # fmt: skip


class Writing(Made):
    task = "language"

    def next_tokens(
        self, prompt: str, step: int | None = None, rank: int | None = None, strength: float = 1.0, k: int = 10
    ) -> tuple[list[dict[str, Any]], bool]:
        gain = 0.02 * self.gain(step, rank, strength)
        rows = [
            {"text": t, "base": 0.3 - 0.05 * i, "tuned": 0.3 - 0.05 * i + gain}
            for i, t in enumerate((" at", "\n", "<b>"))
        ]
        return rows, len(prompt.split(" ")) > 64

    def sample(self, prompt: str, step: int | None, rank: int | None, strength: float, seed: int) -> str:
        return f"{prompt} <i>at</i> {{{{nine}}}} ${{1}} {strength:g} {seed}"


def both(log_odds: float) -> list[float]:
    p = 1 / (1 + math.exp(-log_odds))
    return [1 - p, p]

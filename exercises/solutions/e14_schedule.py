"""Exercise 14: two straight lines that meet at (warmup_steps, peak)."""


def learning_rate_at(step: int, total: int, peak: float, warmup_steps: int = 0) -> float:
    if step < warmup_steps:
        return peak * step / warmup_steps
    return peak * max(0, total - step) / max(1, total - warmup_steps)

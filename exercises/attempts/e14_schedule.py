"""Exercise 14: the linear schedule. Chapter: docs/10-loop.md, "The schedule, and the step it starts at"."""


def learning_rate_at(step: int, total: int, peak: float, warmup_steps: int = 0) -> float:
    """The learning rate of optimizer step number `step`, counted from 0, of `total`.

    It rises in a straight line from 0 at step 0 to `peak` at step `warmup_steps`, then falls in a straight line to 0 at
    step `total`, which is one after the last. From there on it stays 0.

        total = 10, peak = 1, warmup_steps = 2:   0, 0.5, 1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125

    So the first step of a run with warm-up changes nothing, and the last one still learns: as in transformers.
    """
    raise NotImplementedError("yours to write: return the rate of this step")

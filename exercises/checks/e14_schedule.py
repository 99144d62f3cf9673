"""Exercise 14: every step of several runs, against training/optimization.py."""

from collections.abc import Callable

from exercises.judge import compare
from training import optimization

TITLE = "The linear schedule with warm-up"
CHAPTER = "docs/10-loop.md"
HINT = "peak * step / warmup_steps below warmup_steps; then the steps left, total - step, over all the way down."
SEE = "training/optimization.py, learning_rate_at"


def right(step: int, total: int, peak: float, warmup: int = 0) -> float:
    return optimization.learning_rate_at(step, total, peak=peak, schedule="linear", warmup_steps=warmup)


def two_lines(up: Callable | None, down: Callable, floor: bool = True) -> Callable:
    """`up(step, warmup)` while step < warmup, then `down(step, total, warmup)`, both as a share of the peak."""

    def rate(step: int, total: int, peak: float, warmup: int = 0) -> float:
        if up and step < warmup:
            return peak * up(step, warmup)
        share = down(step, total, warmup)
        return peak * (max(0.0, share) if floor else share)

    return rate


def rise(step: int, warmup: int) -> float:
    return step / warmup


def fall(step: int, total: int, warmup: int) -> float:
    return (total - step) / max(1, total - warmup)


def late_fall(step: int, total: int, warmup: int) -> float:
    return (total - 1 - step) / max(1, total - 1 - warmup)


MISTAKES = {
    "the warm-up is one step ahead: step 0 has the rate 0": two_lines(lambda s, w: (s + 1) / w, fall),
    "the warm-up is one step ahead: step 0 has the rate 0, and the peak is at step warmup_steps": two_lines(
        lambda s, w: (s + 1) / (w + 1), fall
    ),
    "the way down is measured by all of `total`: at the end of the warm-up the rate jumps down": two_lines(
        rise, lambda s, t, w: (t - s) / t
    ),
    "your last step has the rate 0 and learns nothing: 0 is reached at step `total`, one later": two_lines(
        rise, late_fall
    ),
    "the way down is one step ahead, as if scheduler.step() came before the first step": two_lines(
        rise, lambda s, t, w: (t - s - 1) / max(1, t - w)
    ),
    "below 0 after `total`: the rate would climb the loss; it stays 0": two_lines(rise, fall, floor=False),
    "there is no warm-up: below warmup_steps the rate must rise from 0": two_lines(None, lambda s, t, w: (t - s) / t),
    "below warmup_steps the rate must rise from 0; yours falls there from above the peak": two_lines(None, fall),
    "the warm-up is right, and then the rate stays at the peak: it must fall to 0 at `total`": two_lines(
        rise, lambda s, t, w: 1.0
    ),
    "the way down starts anew at `total` steps after the warm-up: it must reach 0 at `total`": two_lines(
        rise, lambda s, t, w: (t - (s - w)) / t
    ),
    "`peak` is missing: you return a share of it": lambda step, total, peak, warmup=0: right(step, total, 1.0, warmup),
}


def check(learning_rate_at: Callable) -> None:
    runs = [(10, 1.0, 2), (8, 2e-5, 3), (5, 1e-3, 0), (6, 1.0, 6)]
    calls = [(step, *run) for run in runs for step in range(run[0] + 2)]
    cases = {f"learning_rate_at({', '.join(f'{value:g}' for value in call)})": call for call in calls}
    compare(learning_rate_at, right, cases, MISTAKES)

"""From values to pixels, and where an axis has its numbers."""

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """Values `low` to `high` on the pixels `start` to `end`; `log`: equal factors are equally far."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(max(value, self.low))
        return self.start + (value - low) / (high - low) * (self.end - self.start)


def span(values: Iterable[float], log: bool = False) -> tuple[float, float]:
    """The smallest and the largest, a little apart where they are the same; (0, 1) or (0.1, 1) of none."""
    values = [v for v in values if math.isfinite(v) and (v > 0 or not log)]
    if not values:
        return (0.1, 1.0) if log else (0.0, 1.0)
    low, high = min(values), max(values)
    if low < high:
        return low, high
    return (low / 2, high * 2) if log else (low - abs(low) / 2 - (low == 0), high + abs(high) / 2 + (high == 0))


def step(low: float, high: float, most: int) -> float:
    """The least of 1, 2, 5 times a power of ten with at most `most` steps between low and high."""
    raw = (high - low) / max(1, most)
    power = 10.0 ** math.floor(math.log10(raw))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))


def widened(low: float, high: float, most: int) -> tuple[float, float]:
    """The next ticks outside."""
    size = step(low, high, most)
    return math.floor(low / size + 1e-9) * size, math.ceil(high / size - 1e-9) * size


def ticks(low: float, high: float, most: int, log: bool = False) -> list[float]:
    """Round numbers between low and high, about `most` of them."""
    if log:
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        every = max(1, math.ceil((last - first) / max(1, most)))
        factors = (1, 2, 5) if last - first <= max(1, most // 3) else (1,)
        found = [f * 10.0**k for k in range(first, last + 1, every) for f in factors]
        return [v for v in found if low * (1 - 1e-9) <= v <= high * (1 + 1e-9)]
    size = step(low, high, most)
    first, last = math.ceil(low / size - 1e-9), math.floor(high / size + 1e-9)
    return [k * size for k in range(first, last + 1)]


def short(value: float | None, digits: int = 3) -> str:
    """A number for people: 0.0123, 1.23, 12.3, 1,234, 1.2M; "-" for None."""
    if value is None or not math.isfinite(value):
        return "-"
    size = abs(value)
    if size >= 1e6:
        power = min(4, int(math.log10(size) / 3))
        return f"{short(value / 1000**power, digits)}{' kMGT'[power]}" if size < 1e15 else f"{value:.1e}"
    if size >= 100 or value == 0 or isinstance(value, int):
        return f"{value:,.0f}"
    if size < 1e-4:
        return f"{value:.{digits - 1}g}"
    decimals = max(0, digits - 1 - math.floor(math.log10(size)))
    return f"{value:.{decimals}f}"


def tick_label(value: float) -> str:
    """A round number in as few characters as it has."""
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e4:
        power = min(4, int(math.log10(size) / 3 + 1e-9))
        return f"{value / 1000**power:g}{' kMGT'[power]}"
    return f"{value:.4g}" if size >= 1e-4 * (1 - 1e-9) else f"{value:.0e}".replace("e-0", "e-")


def in_bytes(count: float) -> str:
    """Bytes in the unit that suits them: 930 B, 1.5 kB, 21 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" or count >= 10 else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError


def percent(share: float | None) -> str:
    """A share for people; what is not quite all is not told as all, nor a little as none."""
    if share is None:
        return "-"
    if 0 < share < 0.0005:
        return "< 0.1 %"
    return "> 99.9 %" if 0.9995 <= share < 1 else f"{100 * share:.1f} %"

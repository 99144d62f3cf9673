"""Where the time of one step goes: torch's profiler, its operators sorted into the parts of a GPT-2 with LoRA.

On CUDA an operator's time is that of the kernels which it started, not of the Python and C++ that started them.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.speed.plan import LORA

FROZEN, LOW_RANK = "frozen matrices", "A and B"
# The first word found in an operator's name decides. What two parts use, as mul_, is in none of them.
WORDS = {
    "attention": ("bmm", "softmax", "scaled_dot_product", "index_select", "index_copy", "baddbmm", "flash_attention"),
    "dropout": ("dropout", "bernoulli", "threshold", "bitwise", "random"),
    "GELU": ("tanh", "pow", "sigmoid", "addcmul", "gelu"),
    "norms": ("layer_norm",),
    "AdamW and clipping": ("adamw", "norm", "foreach"),
}
ELEMENTWISE, OUTSIDE = "sums, scalings, copies", "outside torch's operators"


def activities(device: str) -> list[ProfilerActivity]:
    return [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device == "cuda")


def time_parts(step: Callable[[], object], clock: Callable[[], float], device: str) -> dict[str, float]:
    """Seconds of each part in one call of `step`, profiled; `OUTSIDE` is what no operator accounts for.

    `clock` gives seconds, and waits for the device.
    """
    step()
    with profile(activities=activities(device), record_shapes=True) as recorded:
        began = clock()
        step()
        whole = clock() - began
    parts: Counter[str] = Counter()
    for event in recorded.key_averages(group_by_input_shape=True):
        if event.key.startswith("aten::"):
            spent = event.self_device_time_total if device == "cuda" else event.self_cpu_time_total
            parts[part_of(event.key, event.input_shapes)] += spent / 1e6
    return dict(parts.most_common()) | {OUTSIDE: max(0.0, whole - parts.total())}


def part_of(operator: str, shapes: list[list[int]]) -> str:
    if operator.removeprefix("aten::").rstrip("_") in ("mm", "addmm"):
        narrowest = min(side for shape in shapes if len(shape) == 2 for side in shape)
        return LOW_RANK if narrowest <= LORA["r"] else FROZEN
    return next((part for part, words in WORDS.items() if any(word in operator for word in words)), ELEMENTWISE)


def work_of(recorded: profile, device: str, most: int = 25) -> dict[str, Any]:
    """The kernels of a GPU that were recorded, or on a CPU the operators that called no other.

    {"count", "busy_seconds": at least one of them ran, "top": [[name, times, seconds], ...] of the `most` costly}
    """
    spans, seconds, times = [], Counter(), Counter()
    for event in recorded.events():
        if device == "cuda":  # where the profiler also draws the ranges that a program names, over its kernels
            counts = event.device_type == DeviceType.CUDA and not event.is_user_annotation
        else:
            counts = event.name.startswith("aten::") and not event.cpu_children
        if counts:
            span = event.time_range
            spans.append((span.start, span.end))
            seconds[event.name] += (span.end - span.start) / 1e6
            times[event.name] += 1
    busy, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        busy += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    top = [[name, times[name], spent] for name, spent in seconds.most_common(most)]
    return {"count": len(spans), "busy_seconds": busy / 1e6, "top": top}

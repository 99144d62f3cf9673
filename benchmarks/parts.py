"""Where the time of one step goes: torch's profiler, its operators sorted into the parts of a GPT-2 with LoRA."""

import time
from collections import Counter
from collections.abc import Callable

from torch.profiler import ProfilerActivity, profile

from benchmarks.plan import LORA

FROZEN, LOW_RANK = "frozen matrices", "A and B"
# The first word found in an operator's name decides. What two parts use, as mul_, is in none of them.
WORDS = {
    "attention": ("bmm", "softmax", "scaled_dot_product", "index_select", "index_copy", "baddbmm"),
    "dropout": ("dropout", "bernoulli", "threshold", "bitwise", "random"),
    "GELU": ("tanh", "pow", "sigmoid", "addcmul", "gelu"),
    "norms": ("layer_norm",),
    "AdamW and clipping": ("adamw", "norm", "foreach"),
}
ELEMENTWISE, OUTSIDE = "sums, scalings, copies", "outside torch's operators"


def time_parts(step: Callable[[], object]) -> dict[str, float]:
    """Seconds of each part in one call of `step`, profiled; `OUTSIDE` is what no operator accounts for."""
    step()
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as recorded:
        began = time.perf_counter()
        step()
        whole = time.perf_counter() - began
    parts: Counter[str] = Counter()
    for event in recorded.key_averages(group_by_input_shape=True):
        if event.key.startswith("aten::"):
            parts[part_of(event.key, event.input_shapes)] += event.self_cpu_time_total / 1e6
    return dict(parts.most_common()) | {OUTSIDE: max(0.0, whole - parts.total())}


def part_of(operator: str, shapes: list[list[int]]) -> str:
    if operator.removeprefix("aten::").rstrip("_") in ("mm", "addmm"):
        narrowest = min(side for shape in shapes if len(shape) == 2 for side in shape)
        return LOW_RANK if narrowest <= LORA["r"] else FROZEN
    return next((part for part, words in WORDS.items() if any(word in operator for word in words)), ELEMENTWISE)

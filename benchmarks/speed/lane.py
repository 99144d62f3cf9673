"""What every lane can be asked, whatever it is built of."""

import sys
import time
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.profiler import profile

from benchmarks.speed.parts import activities, work_of
from benchmarks.speed.plan import Plan
from benchmarks.speed.turns import Desk


class Lane:
    """A subclass sets up `model` and `optimizer`, takes the steps of the plan when its turn comes, and evaluates."""

    model: nn.Module
    optimizer: torch.optim.Optimizer

    def __init__(self, plan: Plan, precision: str, desk: Desk):
        self.plan, self.precision, self.desk = plan, precision, desk
        self.imported = time.time()
        torch.set_num_threads(plan.threads)

    def run(self) -> None:
        raise NotImplementedError

    def evaluate(self, rows: list[int]) -> dict[str, Any]:
        """{"seconds": ..., "predictions": the label number of each row}"""
        raise NotImplementedError

    def ready(self) -> None:
        """The first step can begin; from here on the GPU's peak memory counts."""
        self.clock()
        if self.plan.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        self.desk.tell({"import": self.imported, "ready": time.time()})

    def clock(self) -> float:
        """Seconds, once the GPU has done all it was asked for: it works off a queue, and whoever asks does not wait."""
        if self.plan.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def draw(self) -> list[str]:
        return draw_trained(self.model)

    def dropout(self, on: bool) -> None:
        """Switch all dropouts off, or on again at the rates they had."""
        for module in self.model.modules():
            for name in ("p", "attn_pdrop"):
                if isinstance(getattr(module, name, None), float):
                    rates = module.__dict__.setdefault("_rates_before", {name: getattr(module, name)})
                    setattr(module, name, rates[name] if on else 0.0)

    def sizes(self) -> dict[str, int]:
        """Bytes: at the peak (of the process, or of a GPU's tensors), of the optimizer's state, of what is trained."""
        state = [v for s in self.optimizer.state.values() for v in s.values() if isinstance(v, torch.Tensor)]
        trained = [p for p in self.model.parameters() if p.requires_grad]
        return {"peak_memory": self.peak_memory(), "optimizer": _bytes(state), "adapter": _bytes(trained)}

    def peak_memory(self) -> int:
        return torch.cuda.max_memory_allocated() if self.plan.device == "cuda" else peak_memory()

    def start_profile(self) -> None:
        """Record what is computed from now on, which slows it."""
        self.clock()
        self.recording = profile(activities=activities(self.plan.device))
        self.recording.start()

    def end_profile(self) -> dict[str, Any]:
        """What was computed since `start_profile`, see `work_of`."""
        self.clock()
        self.recording.stop()
        return work_of(self.recording, self.plan.device)


def draw_trained(model: nn.Module) -> list[str]:
    """Give every trained tensor values that depend on its name alone; returns the names, the same in all lanes."""
    names = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            name = plain_name(name)
            generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
            with torch.no_grad():
                parameter.copy_(torch.empty(parameter.shape).normal_(0.0, 0.02, generator=generator))
            names.append(name)
    return sorted(names)


def plain_name(name: str) -> str:
    """A parameter's name without what peft, or this project, puts around it."""
    return name.removeprefix("base_model.model.").replace(".default", "").replace("modules_to_save.", "")


def _bytes(tensors: list[torch.Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


def peak_memory() -> int:
    """Most resident bytes of this process so far."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not ru_maxrss where it can be avoided: on Linux a new process inherits the peak of the one that started it.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

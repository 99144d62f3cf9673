"""What the GPU is and what it can do at best: the ceilings that all other numbers are to be read against.

    python benchmarks/speed/gpu_facts.py [--device cpu --tiny]

Copying counts bytes read plus bytes written; a product (n, n) x (n, n) counts 2 n^3 FLOP. Medians, by CUDA's own clock.
"""

import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.speed.gpu_stage import Findings, StageConfig  # noqa: E402  before torch: its clock counts that import

# isort: split

import torch  # noqa: E402

from gpt2.varlen_attention import flash_works  # noqa: E402
from training.errors import run_door  # noqa: E402
from training.settings import parse  # noqa: E402

LIBRARIES = ("torch", "transformers", "peft", "accelerate", "tokenizers", "safetensors", "numpy")
SMI = ("name", "driver_version", "memory.total", "power.limit", "clocks.max.sm", "clocks.max.mem")
RATES = {"fp32": (torch.float32, "highest"), "tf32": (torch.float32, "high"), "bf16": (torch.bfloat16, "highest")}
HEAD = 64  # width of one of GPT-2's heads


def main(config: StageConfig) -> None:
    found, device = Findings(config), torch.device(config.device)
    found.note(machine=machine(device), versions=versions(), c_compiler=shutil.which("cc") or shutil.which("gcc"))
    operator = torch.ops.aten._flash_attention_forward.default
    found.note(flash_schema=str(operator._schema))
    found.note(flash_works={str(t): flash_works(device, t, HEAD) for t in (torch.bfloat16, torch.float16)})
    size = 2**20 if config.tiny else 2**30  # bytes
    pair = torch.empty(2, size, dtype=torch.uint8, device=device)
    found.note(copy_bytes_per_second=2 * size / median_seconds(lambda: pair[0].copy_(pair[1]), device))
    width, rates = 256 if config.tiny else 8192, {}
    for name, (dtype, precision) in RATES.items():
        torch.set_float32_matmul_precision(precision)
        a = torch.randn(width, width, device=device, dtype=dtype)
        b, c = torch.randn_like(a), torch.empty_like(a)
        product = lambda a=a, b=b, c=c: torch.mm(a, b, out=c)  # noqa: E731
        rates[name] = 2 * width**3 / median_seconds(product, device)
        found.note(matmul_flop_per_second=rates)
    copy = found.values["copy_bytes_per_second"]
    shown = ", ".join(f"{name} {rate / 1e12:.3g}" for name, rate in rates.items())
    found.note(headline=f"copy {copy / 1e9:.0f} GB/s; TFLOP/s: {shown}")
    print(found.values["headline"])


def machine(device: torch.device) -> dict[str, object]:
    about: dict[str, object] = {"system": platform.platform(), "python": platform.python_version()}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        about |= {"gpu": properties.name, "memory_bytes": properties.total_memory}
        about |= {"multiprocessors": properties.multi_processor_count, "cuda": torch.version.cuda}
        about |= {"capability": f"{properties.major}.{properties.minor}"}
    if shutil.which("nvidia-smi"):
        words = ["nvidia-smi", f"--query-gpu={','.join(SMI)}", "--format=csv,noheader"]
        said = subprocess.run(words, capture_output=True, text=True, timeout=10, check=False).stdout.strip()
        about["nvidia_smi"] = dict(zip(SMI, said.split(", ")))
    return about


def versions() -> dict[str, str | None]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def median_seconds(work: Callable[[], object], device: torch.device, times: int = 20) -> float:
    """One call's seconds, each between two marks in the GPU's own queue; on a CPU by its clock."""
    for _ in range(3):
        work()
    if device.type != "cuda":
        spans = []
        for _ in range(times):
            began = time.perf_counter()
            work()
            spans.append(time.perf_counter() - began)
        return median(spans)
    marks = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(times)]
    for first, last in marks:
        first.record()
        work()
        last.record()
    torch.cuda.synchronize(device)
    return median(first.elapsed_time(last) for first, last in marks) / 1e3


if __name__ == "__main__":
    words = {"prog": "benchmarks/speed/gpu_facts.py", "description": __doc__.split("\n\n")[0]}
    sys.exit(run_door(lambda: main(parse(StageConfig, sys.argv[1:], **words))))

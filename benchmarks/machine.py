"""Where a benchmark runs, for both subjects: equality and speed."""

import importlib.metadata
import importlib.util
import os
import platform
from pathlib import Path
from typing import Any

import torch

from training.device import choose_place

DEVICES = ("cpu", "cuda", "auto")


def pick_device(device: str) -> str:
    """ "cpu" or "cuda" for one of DEVICES; raises UsageError where torch sees no such GPU."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return choose_place(device, "fp32").device.type


def describe_machine(threads: int, device: str = "cpu") -> dict[str, Any]:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    gpu = {"gpu": torch.cuda.get_device_name()} if device == "cuda" else {}
    cpu = {"cpu": cpu, "cores": os.cpu_count(), "threads": threads, "system": platform.platform(), "load_before": load}
    return gpu | cpu


def versions() -> dict[str, str]:
    names = ["torch", "transformers", "peft", "accelerate", "tokenizers", "datasets", "numpy"]
    if not importlib.util.find_spec("datasets"):
        names.remove("datasets")  # transformers and peft do without it
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in names}

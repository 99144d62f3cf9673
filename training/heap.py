"""What one step frees is kept for the next, instead of going back to the system in between.

A step makes and drops hundreds of tensors of some megabytes. glibc returns such blocks to the kernel as they are freed,
and gets them back a page at a time: some ten thousand page faults a step, each with 4 KB to be zeroed.
"""

import ctypes
import sys

import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
LARGEST = 32 << 20  # bytes; glibc refuses more


def keep_heap(device: torch.device) -> list[str]:
    """Change this process's malloc for good where it computes on the CPU; the line that says so, or none.

    None elsewhere, and where malloc is not glibc's.
    """
    if device.type != "cpu" or not sys.platform.startswith("linux"):
        return []
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    # -1: never trim. Larger blocks still go back: keeping them too (M_MMAP_MAX = 0) is as fast on short messages, and
    # on long texts it took a sixth more memory, because freed aligned blocks are hard to fill again.
    if mallopt is None or not (mallopt(M_MMAP_THRESHOLD, LARGEST) and mallopt(M_TRIM_THRESHOLD, -1)):
        return []
    return ["memory that a step frees is kept for the next one (glibc's mallopt)"]

"""Where a run computes and in which precision, with the reason for each choice."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from training.distributed import Ranks, current_ranks
from training.errors import UsageError
from training.probe import cheaper_precision

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Place:
    """A device and the dtype that matrix products run in. Trainable weights are float32 in any case."""

    device: torch.device
    precision: str
    reason: str
    ranks: Ranks = Ranks()  # the processes that share the work, each on a device of its own or on some of the cores
    fast: bool = True  # whether the fast forms of the layers are used

    @contextlib.contextmanager
    def autocast(self) -> Iterator[None]:
        """Matrix products in `precision`; sums, norms and losses stay in float32."""
        with torch.autocast(self.device.type, dtype=_DTYPES[self.precision], enabled=self.precision != "fp32"):
            yield

    def grad_scaler(self) -> torch.amp.GradScaler:
        """fp16 has 5 bits of exponent: small gradients vanish unless the loss is scaled up. A no-op otherwise."""
        return torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")

    def __str__(self) -> str:
        form = "" if self.fast else "; the plain form of the model"
        if self.device.type == "mps":
            form = "; the fast form, untried there" if self.fast else f"{form}, the fast one (--fast) is untried there"
        size, threads = self.ranks.size, torch.get_num_threads()
        shared = "" if size == 1 else f"; {size} processes, {threads} CPU thread{'s' * (threads > 1)} each"
        return f"device {self.device.type}, precision {self.precision}: {self.reason}{form}{shared}"


def choose_place(
    device: str = "auto", precision: str = "auto", width: int | None = None, fast: bool | None = None
) -> Place:
    """Turn the three flags into a Place; raises UsageError for what this machine does not have.

    `width` is the model's n_embd: with it, `auto` on a CPU measures whether bf16 pays there. Unless `fast` says
    otherwise, the fast forms are used on a CPU and on CUDA: on MPS nobody has tried them.
    """
    has = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        device = "cuda" if has["cuda"] else "mps" if has["mps"] else "cpu"
        why = {"cuda": "a CUDA GPU is there", "mps": "Apple's GPU is there", "cpu": "no GPU was found"}[device]
    elif not has[device]:
        raise UsageError(
            f"--device {device}: torch {torch.__version__} sees no such device here; use --device auto or cpu"
        )
    else:
        why = f"--device {device}"
    ranks = current_ranks(device)
    bf16_gpu = device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if precision == "auto" and device == "cpu" and width is not None:
        precision, rates = ranks.everyone(cheaper_precision(width))[0]  # one answer for all
        why += f", {rates}"
    elif precision == "auto":
        precision = "bf16" if bf16_gpu else "fp32"
        why += ", the GPU multiplies bf16 natively" if bf16_gpu else ", fp32 is the safe choice there"
    elif precision == "bf16" and device == "cuda" and not bf16_gpu:
        raise UsageError("--precision bf16: this GPU only emulates it; use fp16 or fp32")
    else:
        why += f", --precision {precision}"
    return Place(torch.device(device), precision, why, ranks, device in ("cpu", "cuda") if fast is None else fast)

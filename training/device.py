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
_NAMES = {"cpu": "the CPU", "cuda": "a CUDA GPU", "mps": "Apple's GPU"}
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
        kind = self.device.type
        sentences = [f"Running on {_NAMES.get(kind, kind)} in {self.precision}.", f"{self.reason}."]
        if kind == "mps":
            form = (
                "The fast form of the model" if self.fast else "The model is in its plain form; the fast one (--fast)"
            )
            sentences.append(f"{form} is untried there.")
        elif not self.fast:
            sentences.append("The model is in its plain form.")
        if (size := self.ranks.size) > 1:
            threads = torch.get_num_threads()
            sentences.append(f"{size} processes share the work, with {threads} CPU thread{'s' * (threads > 1)} each.")
        return " ".join(sentences)


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
        where = "No GPU was found" if device == "cpu" else "There is one"
    elif not has[device]:
        raise UsageError(
            f"--device {device}: torch {torch.__version__} sees no such device here; use --device auto or cpu"
        )
    else:
        where = f"--device {device} was asked for"
    ranks = current_ranks(device)
    bf16_gpu = device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if precision == "auto" and device == "cpu" and width is not None:
        precision, why = ranks.everyone(cheaper_precision(width))[0]  # one answer for all
    elif precision == "auto":
        precision = "bf16" if bf16_gpu else "fp32"
        why = "it multiplies bf16 natively" if bf16_gpu else "fp32 is the safe choice there"
    elif precision == "bf16" and device == "cuda" and not bf16_gpu:
        raise UsageError("--precision bf16: this GPU only emulates it; use fp16 or fp32")
    else:
        why = f"so was --precision {precision}" if "asked" in where else f"--precision {precision} was asked for"
    reason = f"{where}, and {why}"
    return Place(torch.device(device), precision, reason, ranks, device in ("cpu", "cuda") if fast is None else fast)

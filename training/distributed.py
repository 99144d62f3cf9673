"""One run on several processes: `torchrun --nproc_per_node N train.py`.

Every process (rank) holds the whole model, takes its share of each step's rows, and adds its gradients to those of the
others with torch's DistributedDataParallel: gloo on a CPU, NCCL on CUDA (written for, never tried). Gradients are
summed and not averaged, since `train_step` has divided by the rows of all ranks already: that is the step one process
would make with the same rows, also where some ranks have fewer of them. With one process nothing here does anything.
"""

import contextlib
import itertools
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from training.errors import DiedError, Stopped, UsageError

C = TypeVar("C")
T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """The processes of a run: `size` of them, of which this is number `rank`. All must make the same calls."""

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """True in the one process that writes files."""
        return self.rank == 0

    @property
    def launcher(self) -> str:
        return "python" if self.size == 1 else f"torchrun --nproc_per_node {self.size}"

    def seed(self, seed: int) -> int:
        """For dropout, which must differ between ranks. A step this wide keeps clear of the other runs' --seed."""
        return seed + 1_000_003 * self.rank

    def share(self, items: Iterable[T]) -> Iterator[T]:
        """This rank's part of `items`: each is in one part only, and the parts' sizes differ by one at most."""
        return itertools.islice(items, self.rank, None, self.size)

    def everyone(self, value: T) -> list[T]:
        """The values of all ranks, in their order; slow: for now and then."""
        values = [value] * self.size
        if self.size > 1:
            dist.all_gather_object(values, value)
        return values

    def total(self, values: Tensor, op: dist.ReduceOp = dist.ReduceOp.SUM) -> Tensor:
        """The sum over ranks, or another operation, of CPU tensors of one shape."""
        if self.size > 1:
            dist.all_reduce(values, op)
        return values

    def sum(self, value: float) -> float:
        return value if self.size == 1 else self.total(torch.tensor(value, dtype=torch.float64)).item()

    def max(self, value: int) -> int:
        return value if self.size == 1 else self.total(torch.tensor(value), dist.ReduceOp.MAX).item()

    def wait(self) -> None:
        """Until all processes have come here."""
        self.sum(0.0)

    def parallel(self, model: nn.Module) -> nn.Module:
        """The model for forward passes whose gradients are summed over ranks; the parameters are the model's own."""
        if self.size == 1:
            return model
        # No search for unused parameters: LoRA, head and full each use all that they train in every pass.
        wrapped = DistributedDataParallel(model, gradient_as_bucket_view=True)
        wrapped.register_comm_hook(None, _sum_over_ranks)
        return wrapped


ALONE = Ranks()


def _sum_over_ranks(_: Any, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
    return dist.all_reduce(bucket.buffer(), async_op=True).get_future().then(lambda done: done.value()[0])


def sum_gradients(model: nn.Module, now: bool) -> contextlib.AbstractContextManager[None]:
    """Around a forward pass: its gradients, and those kept before, are summed over ranks only if `now`."""
    return model.no_sync() if isinstance(model, DistributedDataParallel) and not now else contextlib.nullcontext()


def current_ranks(device: str) -> Ranks:
    """The processes of this run; raises UsageError where they cannot share `device`."""
    if not dist.is_initialized():
        return ALONE
    here, gpus = int(os.environ["LOCAL_WORLD_SIZE"]), torch.cuda.device_count()
    if device == "mps" or (device == "cuda" and here > gpus):
        raise UsageError(f"{here} processes cannot share {gpus or 1} GPU; use --device cpu or a process for each GPU")
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    return Ranks(dist.get_rank(), dist.get_world_size())


def run_together(main: Callable[[C], T], read: Callable[[], C]) -> T:
    """Run `main(read())` as one of the processes that torchrun started, or alone where it did not start several.

    Only rank 0 prints. The rank that meets an error first tells it; the others meet the same or lose their connection,
    and end without a word. What `read` gives has a `ddp_timeout`: the seconds after which a process that does not
    answer ends the others.
    """
    if "LOCAL_RANK" not in os.environ or os.environ.get("WORLD_SIZE", "1") == "1":
        return main(read())
    store, rank, size = next(dist.rendezvous("env://"))
    # After a restart the store is the same one, and holds the addresses of those who have died.
    store = dist.PrefixStore(f"attempt-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    try:
        with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.ExitStack() as stack:
            if rank > 0:
                stack.enter_context(contextlib.redirect_stdout(nowhere))
                stack.enter_context(contextlib.redirect_stderr(nowhere))
            config = read()
            backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
            timeout = timedelta(seconds=config.ddp_timeout)
            dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=timeout)
            _share_cores()
            result = main(config)
    except SystemExit:  # --help
        raise
    except BaseException as error:
        if not _is_first_to_fail(store):
            sys.exit(getattr(error, "exit_code", 1))
        if isinstance(error, Exception) and not isinstance(error, Stopped):
            _tell_torchrun(error)
        raise
    dist.destroy_process_group()
    return result


def lost_connection(error: BaseException) -> bool:
    """Whether this is how torch says that another process does not answer any more. Its gloo has no class for it."""
    return isinstance(error, dist.DistError) or (type(error) is RuntimeError and "gloo/transport/" in str(error))


def _tell_torchrun(error: Exception) -> None:
    """torchrun ends with a report of its own. The cause belongs into it: what stands last is what is read."""
    file = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if file:
        # Who was killed has told nothing, and torchrun takes the earliest for the cause.
        when = int(time.time()) + 5 * isinstance(error, DiedError)
        cause = f"error: {error}" if hasattr(error, "exit_code") else f"{type(error).__name__}: {error}"
        facts = {"py_callstack": cause, "timestamp": str(when)}
        with contextlib.suppress(OSError):
            Path(file).write_text(json.dumps({"message": {"message": cause, "extraInfo": facts}}), encoding="utf-8")


def launch() -> str | None:
    """Which torchrun has started this process, the same after a restart; None where none has."""
    run_id = os.environ.get("TORCHELASTIC_RUN_ID")
    return None if run_id is None else f"{socket.gethostname()}:{os.getppid()}:{run_id}"


def was_restarted() -> bool:
    """Whether torchrun (`--max-restarts`) has started this process anew, because one of the run has died."""
    return os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") not in ("", "0")


def _is_first_to_fail(store: dist.Store) -> bool:
    try:
        return store.add("failures", 1) == 1
    except dist.DistError:  # without torchrun rank 0 keeps the store, and has gone
        return False


def _share_cores() -> None:
    """torchrun sets OMP_NUM_THREADS to 1 where nobody has set it; here the processes share the cores instead."""
    if os.environ.get("OMP_NUM_THREADS") == "1" and not _started_with("OMP_NUM_THREADS"):
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        torch.set_num_threads(max(1, cores // int(os.environ["LOCAL_WORLD_SIZE"])))


def _started_with(variable: str) -> bool:
    """Whether torchrun, our parent, was given the variable. Linux keeps what a process was started with.

    torchrun hands its own 1 on as it would hand on a user's, and nothing else tells the two apart.
    """
    try:
        given = Path(f"/proc/{os.getppid()}/environ").read_bytes()
    except OSError:
        return False
    return any(entry.startswith(f"{variable}=".encode()) for entry in given.split(b"\0"))

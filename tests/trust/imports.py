"""What the fork server imports, so that no run has to. Nothing here may start a thread."""

import threading

import safetensors.torch  # noqa: F401
import tokenizers  # noqa: F401
import torch
import torch.distributed.run  # noqa: F401
import tqdm

import train  # noqa: F401
from tests.trust import plans  # noqa: F401

torch.set_num_threads(1)
# tqdm makes a lock between processes, which a run that is killed would leave behind.
tqdm.tqdm.set_lock(threading.RLock())

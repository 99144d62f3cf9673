"""A fork server, a run that is never disturbed, and the settings of all runs that are to end as it does."""

import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.trust import calls, plans, trees
from tests.trust.server import ROOT, Server, plan

RESUME = ["--resume_from_checkpoint", "run"]


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """As for all tests, but for the fork server, which listens at a path."""
    connect = socket.socket.connect

    def only_to_a_path(self, address, *args):
        if self.family != socket.AF_UNIX:
            raise OSError(f"the tests have no network (tried {address})")
        return connect(self, address, *args)

    monkeypatch.setattr(socket.socket, "connect", only_to_a_path)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """One for all tests. Its environment is that of the runs: one thread each."""
    if sys.platform != "linux":
        pytest.skip("forks, /proc and signals are used as Linux has them")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("TOKENIZERS_PARALLELISM", "false")
        patch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
        server = Server()
        yield server
        server.close()


@pytest.fixture(scope="session")
def flags(tiny_base, messages_file) -> list[str]:
    """24 steps in 3 epochs of 46 rows: two batches a step, the last one of an epoch short; dropout, warm-up and decay.

    Evaluated every 5 steps and saved every 3, so that there are steps with neither, with one, and with both. The rate
    is so high that the best step is not the last one.
    """
    settings = {
        "model": tiny_base, "dataset": messages_file, "device": "cpu", "precision": "fp32", "learning_rate": 6e-2,
        "per_device_train_batch_size": 3, "gradient_accumulation_steps": 2, "num_train_epochs": 3, "warmup_steps": 4,
        "eval_strategy": "steps", "eval_steps": 5, "save_strategy": "steps", "save_steps": 3, "save_total_limit": 2,
        "metric_for_best_model": "accuracy", "logging_steps": 1, "output_dir": "run",
    }  # fmt: skip
    return [f"--{name}={value}" for name, value in settings.items()]


@pytest.fixture(scope="session")
def undisturbed(server, flags, tmp_path_factory) -> Path:
    """A run from its start to its end."""
    cwd = tmp_path_factory.mktemp("undisturbed")
    server.run(flags, cwd)
    return cwd / "run"


@pytest.fixture(scope="session")
def whole(undisturbed) -> dict[str, str]:
    """The sha256 that every disturbed run must end with."""
    ends = trees.ending(undisturbed)
    assert len(ends) == 5, ends
    return ends


@pytest.fixture(scope="session")
def after_20(server, flags, tmp_path_factory) -> Path:
    """Where a run was stopped after step 20, with the checkpoints 18, 20 and the best, 10: the next save deletes 18."""
    cwd = tmp_path_factory.mktemp("after-20")
    server.run(flags, cwd, plan(plans.signal_at, "step", 20, signal.SIGTERM), expect=143)
    assert trees.steps(cwd / "run") == [10, 18, 20]
    return cwd


def recorded(server: Server, argv: list[str], cwd: Path, window: str) -> list[list[str]]:
    """[name, target] of the calls that change the disk in a window of a run that goes to its end in `cwd`."""
    log = cwd / "calls.jsonl"
    server.run(argv, cwd, plan(calls.record, window, log))
    return [json.loads(line) for line in log.read_text().splitlines()]


@pytest.fixture
def ends_whole(server, whole) -> Callable[[Path], str]:
    """ends_whole(cwd): resumes `cwd`/run; its end must be that of the undisturbed run. Returns what it said."""

    def resume(cwd: Path) -> str:
        run = server.run(RESUME, cwd)
        trees.check_tree(cwd / "run")
        assert trees.ending(cwd / "run") == whole
        return run.stdout

    return resume

"""Who writes where two processes train: one of them, and the other waits until it is on the disk."""

import json

import pytest

from tests.trust import calls, plans
from tests.trust.server import free_port, plan

pytestmark = pytest.mark.slow


def two(server, flags, cwd, on_rank_0, on_rank_1) -> None:
    port = free_port()
    argv = [*flags, "--max_steps=6"]
    plans_of = [[plan(plans.as_rank, rank, port), *more] for rank, more in enumerate((on_rank_0, on_rank_1))]
    runs = [server.start(argv, cwd, each) for each in plans_of]
    for run in runs:
        assert run.finish() == 0, run.stderr


@pytest.mark.promise("P8")
def test_no_process_goes_on_before_a_checkpoint_is_on_the_disk(server, flags, tmp_path):
    """Else one ends first after a signal, and torchrun takes the one that still writes along."""
    log = tmp_path / "seen.jsonl"
    two(server, flags, tmp_path, [plan(plans.slow_disk, 0.03)], [plan(plans.look_after_saves, log)])
    seen = [json.loads(line) for line in log.read_text().splitlines()]
    assert seen[0] == ["step-000003"] and "step-000006" in seen[-1]


@pytest.mark.promise("P15")
@pytest.mark.parametrize("window", ["start", "save 1", "publish"])
def test_only_one_process_writes(server, flags, tmp_path, window):
    two(server, flags, tmp_path, *([plan(calls.record, window, tmp_path / name)] for name in ("0.calls", "1.calls")))
    assert (tmp_path / "0.calls").read_text() and not (tmp_path / "1.calls").read_text()

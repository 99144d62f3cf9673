"""Can the tests of trust fail? What keeps a run safe is taken out, one thing at a time, and the test named sees it."""

import re

import pytest

from tests.faults.planting import Fault, plant
from tests.faults.test_writing_faults import run
from tests.trust import plans
from tests.trust.server import plan

pytestmark = pytest.mark.slow
TRUST = "tests/trust"
# fmt: off
FAULTS = {
    f"{TRUST}/test_io_errors.py::"
    "test_each_file_is_on_the_disk_before_it_gets_its_name_and_only_then_are_older_ones_deleted":
        Fault("no fsync", "training.files:flush", "os.fsync(handle)", "pass", ""),
    f"{TRUST}/test_damage.py::test_no_damage_to_a_file_goes_unnoticed":
        Fault("no manifest check", "training.checkpoint:verify", "if not whole:", "if False:", ""),
    f"{TRUST}/test_stops.py::test_a_run_stopped_five_times_in_one_epoch_ends_with_the_same_bytes":
        Fault("no random state restored", "training.trainee:Trainee._restore_tensors",
              "restore_random_state(tensors[rng], self.place.device)", "pass", ""),
    f"{TRUST}/test_rank_saves.py::test_no_process_goes_on_before_a_checkpoint_is_on_the_disk":
        Fault("no barrier after a save", "training.trainee:Trainee.save", "ranks.wait()", "pass", ""),
    f"{TRUST}/test_rank_saves.py::test_only_one_process_writes":
        Fault("no guard for rank 0", "training.trainee:Trainee.save", "if ranks.is_main:", "if True:", ""),
}
# fmt: on


@pytest.mark.parametrize("test", FAULTS, ids=[fault.name for fault in FAULTS.values()])
def test_what_keeps_a_run_safe_is_missed_by_its_test(test, tmp_path, monkeypatch):
    fault = FAULTS[test]
    monkeypatch.setattr("tests.trust.server.PLANTED", [plan(plans.with_fault, fault)])
    plant(fault, monkeypatch)
    code, printed = run([test], tmp_path / "planted", "-m", "slow")
    assert code == pytest.ExitCode.TESTS_FAILED, printed
    assert re.search(rf"^FAILED .*{test.split('::')[1]}", printed, re.MULTILINE), printed  # and not an error before it

"""time_lanes: who steps when, what of it is timed, and that one lane's death is not the others'."""

import json
import time

import pytest

from benchmarks import timing
from benchmarks.contest import Entry
from benchmarks.plan import Plan
from benchmarks.turns import LaneError, Worker
from benchmarks.workload import SPLIT

PLAN = Plan("", "", SPLIT, 64, 2, [[0, 1], [2, 3, 4]], 1e-3, 42, 1)


class StandIn:
    """A lane's process that answers at once; "mortal" dies at its third step, "stillborn" before its first."""

    asked = []

    def __init__(self, kind, precision, path):
        self.kind, self.steps = kind, 0
        self.schedule = json.loads(path.read_text())["schedule"]
        if kind == "stillborn":
            raise LaneError("no memory")

    def ask(self, do, **arguments):
        self.asked.append((self.kind, do))
        self.steps += do == "step"
        if self.kind == "mortal" and self.steps == 3:
            raise LaneError("out of memory")
        answers = {"step": {"seconds": float(self.steps), "loss": 0.5}, "sizes": {"peak_memory": 7}}
        answers |= {"evaluate": {"seconds": 2.0, "predictions": [0]}, "end_profile": {"count": 3}}
        return answers.get(do)

    def close(self):
        self.asked.append((self.kind, "close"))


@pytest.fixture(autouse=True)
def asked(request, monkeypatch):
    if "real" not in request.node.name:
        monkeypatch.setattr(timing, "Worker", StandIn)
    StandIn.asked = []
    return StandIn.asked


def test_the_first_steps_are_not_timed_batches_come_round_again_and_lanes_take_turns(tmp_path, asked):
    found = timing.time_lanes({"a": Entry("a"), "b": Entry("b")}, PLAN, tmp_path, warmup=2, steps=3)
    assert found["a"]["seconds"] == [3.0, 4.0, 5.0] and len(found["a"]["losses"]) == 5
    assert found["a"]["rows"] == 2 + 3 + 2  # the batches of two and of three rows, from the third step on
    assert found["a"]["sizes"] == {"peak_memory": 7} and "evaluated" not in found["a"] and "profile" not in found["a"]
    assert "".join(kind for kind, do in asked if do == "step") == "abbaabbaab"
    assert {kind for kind, do in asked if do == "close"} == {"a", "b"}


def test_a_lane_may_have_batches_of_its_own_and_each_its_own_precision(tmp_path):
    lanes = {"random": Entry("a", "bf16"), "grouped": Entry("a", "bf16")}
    found = timing.time_lanes(lanes, PLAN, tmp_path, warmup=0, steps=2, schedules={"grouped": [[9] * 7]})
    assert found["random"]["rows"] == 5 and found["grouped"]["rows"] == 14


def test_a_lane_that_dies_says_why_and_leaves_the_others_alone(tmp_path):
    lanes = {"ours": Entry("ours"), "mortal": Entry("mortal"), "stillborn": Entry("stillborn")}
    found = timing.time_lanes(lanes, PLAN, tmp_path, warmup=1, steps=3, eval_rows=[8], profiled=True)
    assert found["mortal"]["error"] == "out of memory" and found["mortal"]["seconds"] == [2.0]
    assert found["stillborn"]["error"] == "no memory" and found["stillborn"]["sizes"] is None
    assert len(found["ours"]["seconds"]) == 3 and "error" not in found["ours"]
    assert found["ours"]["evaluated"] == {"seconds": 2.0, "predictions": [0]}
    assert found["ours"]["profile"] == {"seconds": 5.0, "count": 3} and found["mortal"]["profile"] is None


def test_when_patience_is_over_no_further_turn_begins(tmp_path, monkeypatch):
    now = iter(range(100))
    monkeypatch.setattr(time, "monotonic", lambda: next(now))
    found = timing.time_lanes({"a": Entry("a")}, PLAN, tmp_path, warmup=1, steps=40, patience=5)
    assert len(found["a"]["seconds"]) == 4 and found["a"]["sizes"]


@pytest.mark.slow
def test_real_lanes_are_timed_and_profiled(tiny_base, messages_file, tmp_path):
    assert timing.Worker is Worker
    plan = Plan(str(tiny_base), str(messages_file), SPLIT, 64, 4, [[0, 1, 2, 3], [4, 5, 6, 7]], 1e-3, 42, 1)
    lanes = {"trainer": Entry("trainer"), "plain": Entry("plain"), "fast": Entry("ours", "bf16")}
    found = timing.time_lanes(lanes, plan, tmp_path, warmup=1, steps=2, eval_rows=[8, 9], profiled=True)
    for lane in found.values():
        assert "error" not in lane and len(lane["seconds"]) == 2 and len(lane["evaluated"]["predictions"]) == 2
        assert lane["profile"]["count"] > 100 and 0 < lane["profile"]["busy_seconds"] < lane["profile"]["seconds"]

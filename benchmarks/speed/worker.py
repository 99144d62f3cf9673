"""One lane in a process of its own: `python -m benchmarks.speed.worker LANE PRECISION PLAN`, as turns.py starts it."""

import sys
from pathlib import Path

from benchmarks.speed.plan import Plan
from benchmarks.speed.turns import Desk

if __name__ == "__main__":
    kind, precision, plan = sys.argv[1:]
    desk = Desk()
    # Imported here: how long its imports take is part of what is measured, and differs from lane to lane.
    if kind == "trainer":
        from benchmarks.speed.trainer_lane import TrainerLane as Lane
    else:
        from benchmarks.speed.own_lanes import LANES

        Lane = LANES[kind]
    Lane(Plan.load(Path(plan)), precision, desk).run()

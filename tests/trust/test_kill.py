"""SIGKILL at random moments: what is on the disk is whole, and the resumed run ends with the bytes of one never killed.

TRUST_KILLS is the number of runs that are killed, TRUST_SEED repeats what a failure has printed.
"""

import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.trust import plans, trees
from tests.trust.conftest import RESUME
from tests.trust.server import Server, plan

SEED = int(os.environ.get("TRUST_SEED") or time.time_ns() % 2**32)
# Where a kill is aimed at, how often, and how many seconds after the beginning of it: longer than it takes, so that
# some come later than that. "start" is imports, the rows, the model; what a kill has met is what counts.
AIMS = {"step": (11, 0.01), "save": (6, 0.015), "evaluate": (1, 0.01), "publish": (1, 0.03), "start": (1, 0.3)}


class Killer:
    """Kills runs, and counts what they were doing."""

    def __init__(self, server: Server, seed: int):
        self.server, self.random, self.met = server, random.Random(seed), Counter()
        self.aims: list[str] = []  # as a pack of cards is dealt: else chance alone would miss the saves now and then

    def killed(self, argv: list[str], cwd: Path) -> bool:
        """Start a run and kill it at a random moment; False where it came to its end before."""
        if not self.aims:
            self.aims = [name for name, (often, _) in AIMS.items() for _ in range(often)]
            self.random.shuffle(self.aims)
        aim = self.aims.pop()
        number = self.random.randint(1, {"step": 12, "save": 6, "evaluate": 4}.get(aim, 1))
        wanted = "start" if aim == "start" else f"{aim} {number}"
        fifo = cwd / f"phases-{self.server.number}"
        os.mkfifo(fifo)
        run = self.server.start(argv, cwd, [plan(plans.mark_phases, fifo)])
        with open(fifo, encoding="utf-8") as phases:
            for line in phases:
                if line.strip() == wanted:
                    time.sleep(self.random.uniform(0, AIMS[aim][1]))
                    run.send(signal.SIGKILL)
                    break
            marks = phases.read().split("\n")
        code = run.finish()
        assert code in (0, -signal.SIGKILL), f"exit code {code}; it said:\n{run.stdout}\n{run.stderr}"
        if code == 0:
            return False
        last = ([line.strip(), *marks[:-1]])[-1]  # what stands after the last newline is nothing
        self.met[last.split(" ")[0]] += 1
        return True


def kill_often(server: Server, flags: list[str], whole: dict[str, str], folder: Path, runs: int) -> None:
    """`runs` runs, each killed up to three times and taken up again each time."""
    print(f"TRUST_SEED={SEED}")
    killer = Killer(server, SEED)
    for number in range(runs):
        cwd, argv = folder / str(number), flags
        cwd.mkdir()
        for _ in range(killer.random.randint(1, 3)):
            was_killed = killer.killed(argv, cwd)
            trees.check_tree(cwd / "run", clean=False)
            if (cwd / "run" / "config.toml").exists():  # else nothing of it was there yet
                argv = RESUME
            if not was_killed:
                break
        server.run(argv, cwd)
        trees.check_tree(cwd / "run")
        assert trees.ending(cwd / "run") == whole, f"run {number}"
    kills = killer.met.total()
    print(f"{runs} runs, {kills} kills, in: {dict(killer.met)}")
    assert kills >= runs and killer.met["step"] >= 0.3 * kills and killer.met["save"] >= 0.1 * kills


@pytest.mark.slow
@pytest.mark.promise("P1")
@pytest.mark.promise("P2")
def test_runs_killed_at_random_moments_end_with_the_same_bytes(server, flags, whole, tmp_path):
    kill_often(server, flags, whole, tmp_path, 20)


@pytest.mark.long
def test_many_runs_killed_at_random_moments_end_with_the_same_bytes(server, flags, whole, tmp_path):
    kill_often(server, flags, whole, tmp_path, int(os.environ.get("TRUST_KILLS", 100)))

"""Two processes under torchrun, stopped, killed, hung and restarted: no orphan, and the bytes of a run left alone."""

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.trust import trees
from tests.trust.server import ROOT, Run, Server, torchrun, wait_for

SEED = int(os.environ.get("TRUST_SEED") or time.time_ns() % 2**32)
TRAIN = str(ROOT / "train.py")
RANK = str(ROOT / "tests" / "trust" / "rank.py")
PACED = [RANK, "pace"]  # in place of train.py
RESUME = [TRAIN, "--resume_from_checkpoint", "run"]


@pytest.fixture(autouse=True)
def no_process_outlives_its_test(tmp_path) -> Iterator[None]:
    yield
    for pid in processes(tmp_path):
        os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def argv(flags) -> list[str]:
    """4 steps an epoch, 48 in all."""
    return [TRAIN, *flags, "--num_train_epochs=12", "--save_steps=2", "--eval_steps=7", "--ddp_timeout=60"]


@pytest.fixture(scope="module")
def left_alone(server, argv, tmp_path_factory) -> dict[str, str]:
    cwd = tmp_path_factory.mktemp("two-ranks")
    assert server.start(argv, cwd, entry=torchrun).finish() == 0
    ends = trees.ending(cwd / "run")
    assert len(ends) == 6, "two streams of random numbers"
    return ends


def processes(cwd: Path) -> dict[int, str | None]:
    """The processes that work in a directory, and the rank of each; torchrun itself has none."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if path.joinpath("cwd").readlink() == cwd and path.joinpath("cmdline").read_bytes():  # else a zombie
                variables = path.joinpath("environ").read_bytes().split(b"\0")
                found[int(path.name)] = next((v[5:].decode() for v in variables if v.startswith(b"RANK=")), None)
        except OSError:
            continue
    return found


def rank(cwd: Path, number: int) -> int:
    return next(pid for pid, name in processes(cwd).items() if name == str(number))


def after_some_steps(run: Run, done: int, draw: random.Random) -> None:
    """Wait for a random moment in the first steps that are made after `done` steps."""
    wanted = done + draw.randint(1, 4)
    wait_for(lambda: trees.steps_logged(run.cwd / "run") >= wanted, f"step {wanted}", run=run)
    time.sleep(draw.uniform(0, 0.03))


def check_gone(run: Run, timeout: float = 30) -> None:
    """All processes end in time, torchrun with an error."""
    began = time.monotonic()
    code = run.finish(timeout)
    assert code != 0, run.stdout
    wait_for(lambda: not processes(run.cwd), "no orphan", max(0.1, timeout - (time.monotonic() - began)))


def disturbed_often(server: Server, argv, ends: dict[str, str], cwd: Path, times: int, disturb) -> None:
    """A run that is disturbed, `disturb(run, number)`, and taken up again, `times` times, and then left alone."""
    print(f"TRUST_SEED={SEED}")
    draw = random.Random(SEED)
    for number in range(times):
        done = trees.steps_logged(cwd / "run")  # a killed run may have logged more than it had saved
        run = server.start([*PACED, *(RESUME if number else argv)[1:]], cwd, entry=torchrun)
        after_some_steps(run, done, draw)
        disturb(run, number)
        check_gone(run)
        trees.check_tree(cwd / "run", clean=False)
    run = server.start(RESUME, cwd, entry=torchrun)
    assert run.finish() == 0, run.stderr
    trees.check_tree(cwd / "run")
    assert trees.ending(cwd / "run") == ends


def stop_all(run: Run, number: int) -> None:
    """As a batch system does it: torchrun and its processes get the signal, and the processes get it from it again."""
    for pid in processes(run.cwd):
        os.kill(pid, signal.SIGTERM)
    run.process.join(30)
    assert run.stderr.count("stopped after step") == 1, run.stderr
    step = int(run.stderr.split("stopped after step ")[1].split(";")[0])
    assert trees.steps(run.cwd / "run")[-1] == step == trees.metrics(run.cwd / "run")[-1]["step"]
    assert trees.is_whole(run.cwd / "run" / "checkpoints" / f"step-{step:06d}")


def kill_one(run: Run, number: int) -> None:
    os.kill(rank(run.cwd, number % 2), signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.promise("P8")
def test_sigterm_to_all_processes_leaves_the_checkpoint_of_that_step_and_no_orphan(server, argv, left_alone, tmp_path):
    disturbed_often(server, argv, left_alone, tmp_path, 5, stop_all)


@pytest.mark.slow
@pytest.mark.promise("P1")
@pytest.mark.promise("P2")
def test_a_killed_rank_takes_the_other_down_and_the_run_can_be_gone_on_with(server, argv, left_alone, tmp_path):
    first = [*argv, "--save_steps=1"]
    disturbed_often(server, first, left_alone, tmp_path, 5, kill_one)


@pytest.mark.long
@pytest.mark.parametrize("disturb", [stop_all, kill_one])
def test_two_ranks_disturbed_many_times(server, argv, left_alone, tmp_path, disturb):
    longer = [*argv, "--save_steps=1"]
    for number in range(int(os.environ.get("TRUST_STOPS", 30)) // 5):
        cwd = tmp_path / str(number)
        cwd.mkdir()
        disturbed_often(server, longer, left_alone, cwd, 5, disturb)


@pytest.mark.slow
@pytest.mark.promise("P2")
def test_torchrun_restarts_a_run_of_which_a_rank_was_killed_and_it_ends_with_the_same_bytes(
    server, argv, left_alone, tmp_path
):
    run = server.start(["--max-restarts=3", *argv], tmp_path, entry=torchrun)
    for number, wanted in ((1, 6), (0, 20)):
        wait_for(lambda wanted=wanted: trees.steps_logged(tmp_path / "run") >= wanted, f"step {wanted}", run=run)
        victim = rank(tmp_path, number)
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda victim=victim: victim not in processes(tmp_path), "its end")
    assert run.finish() == 0, run.stderr
    assert run.stdout.count("going on after step") == 2, run.stdout
    trees.check_tree(tmp_path / "run")
    assert trees.ending(tmp_path / "run") == left_alone
    assert not processes(tmp_path)


@pytest.mark.slow
@pytest.mark.promise("P16")
@pytest.mark.parametrize("kind", ["error", "bug"])
def test_a_rank_that_raises_takes_the_other_down_and_its_cause_is_told_last(server, argv, tmp_path, kind):
    run = server.start([RANK, kind, *argv[1:]], tmp_path, entry=torchrun)
    check_gone(run)
    report = run.stderr[run.stderr.rindex("Root Cause") :]  # of torchrun, which has the last word
    assert "what rank 1 has met" in report, run.stderr


@pytest.fixture
def stopped(server, argv, tmp_path) -> tuple[Run, int]:
    """A run whose rank 1 was stopped in the middle of training and does nothing any more; and its process."""
    run = server.start([*argv, "--ddp_timeout=4"], tmp_path, entry=torchrun)
    wait_for(lambda: trees.steps_logged(tmp_path / "run") >= 3, "step 3", run=run)
    hung = rank(tmp_path, 1)
    os.kill(hung, signal.SIGSTOP)
    return run, hung


@pytest.mark.slow
def test_a_rank_that_hangs_is_noticed_after_the_time_that_was_set(stopped):
    run, hung = stopped
    wait_for(lambda: "error: " in run.stderr, "a word of it", 4 + 10)
    assert "Traceback" not in run.stderr.split("error: ")[0]
    os.kill(hung, signal.SIGKILL)  # torchrun itself does it after 30 s
    check_gone(run)


@pytest.mark.long
def test_a_rank_that_hangs_is_ended_by_torchrun(stopped):
    run, _ = stopped
    check_gone(run, 4 + 35)

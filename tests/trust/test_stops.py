"""A run that is asked to stop, at any step and in the middle of anything: saved, told, and no different in the end."""

import itertools
import json
import os
import signal
import threading
import time

import pytest

from tests.trust import plans, trees
from tests.trust.conftest import RESUME
from tests.trust.server import plan

pytestmark = pytest.mark.promise("P8")
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
NAMES = [number.name for number in SIGNALS]


def check_stopped(run, cwd, number, step):
    """The process ended as told, its last step is on the disk, and it says how to go on and how it ended."""
    assert f"stopped after step {step}; go on with: " in run.stderr and run.stderr.count("\n") == 1, run.stderr
    assert trees.steps(cwd / "run")[-1] == step
    trees.check_tree(cwd / "run")
    status = trees.strict((cwd / "run" / "status.json").read_text())
    assert (status["status"], status["step"], status["exit_code"]) == ("stopped", step, 128 + number)


@pytest.mark.slow
@pytest.mark.promise("P2")
@pytest.mark.parametrize(("step", "number"), [*zip(range(1, 25), itertools.cycle(SIGNALS))])
def test_a_run_stopped_at_any_step_ends_with_the_same_bytes(server, flags, ends_whole, tmp_path, step, number):
    run = server.run(flags, tmp_path, plan(plans.signal_at, "step", step, number), expect=128 + number)
    check_stopped(run, tmp_path, number, step)
    said = ends_whole(tmp_path)
    assert f"going on after step {step} from run/checkpoints/step-{step:06d}" in said


@pytest.mark.slow
@pytest.mark.promise("P2")
def test_a_run_stopped_five_times_in_one_epoch_ends_with_the_same_bytes(server, flags, ends_whole, tmp_path):
    server.run(flags, tmp_path, plan(plans.signal_at, "step", 9, signal.SIGTERM), expect=143)
    for _ in range(4):
        server.run(RESUME, tmp_path, plan(plans.signal_at, "step", 1, signal.SIGTERM), expect=143)
    assert trees.steps(tmp_path / "run")[-1] == 13, "the epoch has the steps 9 to 16"
    ends_whole(tmp_path)
    assert trees.trained_steps(tmp_path / "run") == list(range(1, 25))


@pytest.mark.slow
def test_weights_move_after_each_of_the_stops(undisturbed):
    """Else any two endings would be equal, and the tests above would prove nothing."""
    rates = [entry for entry in trees.metrics(undisturbed) if "learning_rate" in entry]
    assert all(entry["learning_rate"] > 1e-4 and entry["grad_norm"] > 0 for entry in rates[1:-1])
    assert json.loads((undisturbed / "results.json").read_text())["best_step"] < 24


# Evaluations: 1 before training; 2 after step 5 to 6 after step 24; 7 the final one. Each has a batch or more, of which
# the signal comes in the first. The loop's first step is number 1.
@pytest.mark.slow
@pytest.mark.parametrize(("evaluation", "step"), [(2, 5), (4, 15)])
@pytest.mark.parametrize("number", SIGNALS, ids=NAMES)
def test_a_stop_breaks_an_evaluation_off_and_the_resumed_run_makes_up_for_it(
    server, flags, ends_whole, undisturbed, tmp_path, evaluation, step, number
):
    run = server.run(flags, tmp_path, plan(plans.signal_at, "evaluate", evaluation, number), expect=128 + number)
    check_stopped(run, tmp_path, number, step)
    assert "held out" not in run.stdout.split(f"step {step}/24")[1], "broken off"
    ends_whole(tmp_path)
    assert trees.metrics(tmp_path / "run") == trees.metrics(undisturbed), "also the evaluation's entry, in its place"


@pytest.mark.slow
@pytest.mark.parametrize("evaluation", [6, 7])
def test_a_stop_after_the_last_step_loses_nothing_of_it(server, flags, ends_whole, tmp_path, evaluation):
    run = server.run(flags, tmp_path, plan(plans.signal_at, "evaluate", evaluation, signal.SIGTERM), expect=None)
    assert run.process.exitcode in (0, 143)
    assert trees.steps(tmp_path / "run")[-1] == 24
    ends_whole(tmp_path)


@pytest.mark.slow
def test_a_stop_before_the_first_step_leaves_a_run_that_can_be_gone_on_with(server, flags, ends_whole, tmp_path):
    run = server.run(flags, tmp_path, plan(plans.signal_at, "evaluate", 1, signal.SIGTERM), expect=None)
    assert run.process.exitcode in (143, -signal.SIGTERM)
    ends_whole(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("number", SIGNALS, ids=NAMES)
def test_a_stop_in_the_middle_of_a_save_lets_the_save_end(server, flags, ends_whole, tmp_path, number):
    run = server.run(flags, tmp_path, plan(plans.signal_inside, "save", 2, number), expect=128 + number)
    step = trees.steps(tmp_path / "run")[-1]
    assert step in (5, 6), "the step of that save, or the one that comes next"
    check_stopped(run, tmp_path, number, step)
    ends_whole(tmp_path)


@pytest.mark.slow
def test_a_storm_of_signals_is_one_request(server, flags, ends_whole, tmp_path):
    fifo = tmp_path / "phases"
    os.mkfifo(fifo)
    run = server.start(flags, tmp_path, [plan(plans.mark_phases, fifo)])
    with open(fifo, encoding="utf-8") as phases:
        next(line for line in phases if line == "step 2\n")
        reading = threading.Thread(target=phases.read)  # else the run would wait for its reader
        reading.start()
        for number in itertools.islice(itertools.cycle((signal.SIGTERM, signal.SIGHUP)), 100):
            run.send(number)
            time.sleep(0.01)
        code = run.finish()
        reading.join()
    # One that comes when all is saved, and Python on its way out, ends the process itself: to a shell the same number.
    assert code in (143, 129, -signal.SIGTERM, -signal.SIGHUP) and run.stderr.count("stopped after step") <= 1
    if code > 0:
        check_stopped(run, tmp_path, code - 128, trees.steps(tmp_path / "run")[-1])
    trees.check_tree(tmp_path / "run", clean=False)
    ends_whole(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["step", "save"])
def test_a_second_ctrl_c_stops_at_once_and_leaves_a_whole_tree(server, flags, ends_whole, tmp_path, name):
    twice = (signal.SIGINT, signal.SIGINT)
    run = server.run(flags, tmp_path, plan(plans.signal_at, name, 3, *twice), expect=130)
    assert "Traceback" not in run.stderr and run.stderr.count("\n") == 1
    trees.check_tree(tmp_path / "run", clean=False)
    ends_whole(tmp_path)


@pytest.mark.slow
def test_sigterm_and_a_hangup_after_it_are_no_second_ctrl_c(server, flags, tmp_path):
    signals = (signal.SIGTERM, signal.SIGHUP, signal.SIGTERM, signal.SIGINT)
    run = server.run(flags, tmp_path, plan(plans.signal_at, "step", 3, *signals), expect=None)
    check_stopped(run, tmp_path, run.process.exitcode - 128, 3)


@pytest.mark.slow
@pytest.mark.parametrize("number", SIGNALS, ids=NAMES)
def test_a_signal_that_was_ignored_at_the_start_stays_ignored(server, flags, tmp_path, whole, number):
    server.run(flags, tmp_path, plan(plans.ignore, number), plan(plans.signal_at, "step", 3, number))
    assert trees.ending(tmp_path / "run") == whole

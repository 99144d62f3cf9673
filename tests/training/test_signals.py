"""How a run hears that it should stop."""

import os
import signal
import threading

import pytest

from training.distributed import ALONE
from training.errors import Stopped
from training.signals import StopRequest, ended_by_signals, stop_together, stop_wanted

NUMBERS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.mark.parametrize("number", NUMBERS)
def test_the_first_signal_asks_to_stop_and_only_a_second_ctrl_c_stops_at_once(number):
    before = signal.getsignal(number)
    with StopRequest() as stop:
        assert stop.signal is None and not stop_wanted()
        for _ in range(1 if number == signal.SIGINT else 100):
            os.kill(os.getpid(), number)
        assert stop.signal == number and stop_wanted()
        with pytest.raises(KeyboardInterrupt):
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)
        assert stop.signal == number, "the first one counts"
    assert signal.getsignal(number) is before and not stop_wanted()


def test_a_ctrl_c_that_torchrun_hands_on_is_the_same_one(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    with StopRequest() as stop:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGINT)
        stop._interrupted -= 3  # seconds ago
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_that_was_ignored_at_the_start_stays_ignored(number):
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with ended_by_signals(), StopRequest() as stop:
            os.kill(os.getpid(), number)
            assert stop.signal is None
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("number", NUMBERS)
def test_outside_the_loop_a_signal_ends_the_run_on_the_spot(number):
    with pytest.raises(Stopped) as stopped, ended_by_signals():
        os.kill(os.getpid(), number)
        pytest.fail("went on")
    assert stopped.value.exit_code == 128 + number


def test_long_work_inside_a_step_can_be_broken_off():
    stop_together(ALONE)
    with StopRequest():
        stop_together(ALONE)
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Stopped):
            stop_together(ALONE)


def test_in_a_thread_a_run_is_asked_nothing_and_breaks_nothing():
    def work():
        with ended_by_signals(), StopRequest() as stop:
            found.append(stop.signal)

    found = []
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [None]

"""SIGTERM and SIGINT wait for a moment between two steps; a second SIGINT does not."""

import os
import pickle
import signal
import subprocess
import sys
import threading

import pytest

from conftest import clean_environment
from vaelab.training.signals import REQUESTS, Interrupted, StopRequest

both = pytest.mark.parametrize("signum", REQUESTS)


@pytest.fixture(autouse=True)
def handlers():
    """The handlers before a test, put back after it whatever happened."""
    before = {number: signal.getsignal(number) for number in REQUESTS}
    yield before
    for number, handler in before.items():
        signal.signal(number, handler)


def send(signum):
    os.kill(os.getpid(), signum)


def test_without_a_signal_nothing_is_raised():
    with StopRequest() as stop:
        stop.check()


@both
def test_a_signal_is_held_back_until_it_is_asked_for(signum):
    steps = []
    with pytest.raises(Interrupted) as raised, StopRequest() as stop:
        send(signum)
        steps.append("the step is finished")
        stop.check()
        steps.append("the next one is not begun")
    assert steps == ["the step is finished"]
    assert raised.value.signum == signum
    assert str(raised.value) == f"stopped by {signum.name}"


@both
def test_a_signal_that_was_not_asked_for_is_raised_at_the_end(signum):
    with pytest.raises(Interrupted), StopRequest():
        send(signum)


@both
def test_where_nothing_has_to_be_saved_a_signal_is_answered_at_once(signum):
    steps = []
    with pytest.raises(Interrupted), StopRequest() as stop, stop.at_once():
        send(signum)
        steps.append("not reached")
    assert steps == []


@both
def test_what_cleans_up_is_not_interrupted(signum):
    steps = []
    with pytest.raises(Interrupted), StopRequest() as stop, stop.at_once():
        try:
            send(signum)
        finally:
            send(signal.SIGTERM)
            steps.append("cleaned up")
    assert steps == ["cleaned up"]


@both
def test_a_worker_that_reads_data_is_not_where_a_signal_is_answered(signum):
    with pytest.raises(Interrupted), StopRequest() as stop, stop.at_once():
        child = os.fork()
        if child == 0:
            try:
                send(signum)
                os._exit(7)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        send(signum)


@both
def test_later_signals_are_held_back_again(signum):
    with pytest.raises(Interrupted), StopRequest() as stop:
        with stop.at_once():
            pass
        send(signum)
        with pytest.raises(Interrupted):
            stop.check()


@both
def test_a_signal_that_was_held_back_is_answered_before_more_is_begun(signum):
    steps = []
    with pytest.raises(Interrupted), StopRequest() as stop:
        send(signum)
        with stop.at_once():
            steps.append("not reached")
    assert steps == []


def test_an_error_is_not_hidden_by_a_signal():
    with pytest.raises(ZeroDivisionError), StopRequest():
        send(signal.SIGTERM)
        _ = 1 / 0


@both
def test_every_check_after_a_signal_raises(signum):
    with pytest.raises(Interrupted), StopRequest() as stop:
        send(signum)
        for _ in range(2):
            with pytest.raises(Interrupted):
                stop.check()


def test_no_handler_of_exceptions_takes_an_interruption_for_a_failure():
    assert not issubclass(Interrupted, Exception)


@both
def test_the_handlers_of_before_are_put_back(signum, handlers):
    with pytest.raises(Interrupted), StopRequest():
        assert {number: signal.getsignal(number) for number in REQUESTS} != handlers
        send(signum)
    assert {number: signal.getsignal(number) for number in REQUESTS} == handlers


@both
def test_the_second_interrupt_is_not_held_back(signum):
    with pytest.raises(Interrupted), StopRequest():
        send(signum)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL


def test_a_second_interrupt_ends_a_process_that_does_not_ask():
    code = """if True:
        import os, signal, time
        from vaelab.training.signals import StopRequest
        with StopRequest():
            os.kill(os.getpid(), signal.SIGINT)
            print("held back", flush=True)
            os.kill(os.getpid(), signal.SIGINT)
            print("still here", flush=True)
    """
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=clean_environment())
    assert ended.stdout == "held back\n"
    assert ended.returncode == -signal.SIGINT


def test_outside_the_main_thread_no_handler_is_touched(handlers):
    seen = []

    def work():
        with StopRequest() as stop:
            seen.append({number: signal.getsignal(number) for number in REQUESTS})
            stop.check()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [handlers]


def test_an_interruption_that_comes_from_another_process_is_whole():
    assert pickle.loads(pickle.dumps(Interrupted(15))).signum == 15


def test_a_schedulers_signal_is_held_back_where_it_is_handled_and_then_passed_on():
    passed_on = []
    before = signal.signal(signal.SIGUSR2, lambda signum, frame: passed_on.append(signum))
    try:
        with pytest.raises(Interrupted) as raised, StopRequest() as stop:
            send(signal.SIGUSR2)
            assert passed_on == []
            stop.check()
        assert raised.value.signum == signal.SIGUSR2
        send(signal.SIGUSR2)
        assert passed_on == [signal.SIGUSR2]
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_a_schedulers_signal_that_nobody_handles_is_left_alone():
    assert signal.getsignal(signal.SIGUSR2) == signal.SIG_DFL
    with StopRequest():
        assert signal.getsignal(signal.SIGUSR2) == signal.SIG_DFL


def test_sigterm_is_left_to_the_scheduler_where_there_is_one():
    before = signal.signal(signal.SIGUSR2, lambda signum, frame: None)
    told = []
    signal.signal(signal.SIGTERM, lambda signum, frame: told.append(signum))
    try:
        with StopRequest() as stop:
            send(signal.SIGTERM)
            stop.check()
        assert told == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGUSR2, before)

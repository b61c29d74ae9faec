"""The number of threads that makes a step faster, and a watch over the speed."""

import logging
import time

import pytest
import torch

from vaelab.machine.threads import WINDOW_SECONDS, SpeedWatch, faster_number_of_threads


def step_of(one: float, three: float):
    """A step that takes so many milliseconds with one thread, and with three."""
    return lambda: time.sleep({1: one, 3: three}[torch.get_num_threads()] / 1000)


@pytest.mark.parametrize(
    ("one", "three", "faster"), [(4, 1, 3), (1, 4, 1), (2, 2, 1)], ids=["three are", "one is", "a tie is for one"]
)
def test_the_faster_number_is_taken_and_said(three_threads, caplog, one, three, faster):
    caplog.set_level(logging.INFO)
    assert faster_number_of_threads(lambda: step_of(one, three), 100_000) == faster
    (message,) = caplog.messages
    assert message.startswith(f"trainer.threads={faster}: a step takes ")
    assert torch.get_num_threads() == 3


def test_a_small_gain_is_taken_where_it_is_known_to_be_larger(three_threads):
    assert faster_number_of_threads(lambda: step_of(3.15, 3), 100_000) == 1
    assert faster_number_of_threads(lambda: step_of(3.15, 3), 100_000, 1.0) == 3


def never():
    raise AssertionError("a step was measured")


def test_nothing_is_measured_where_a_launcher_has_said_how_many(three_threads, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert faster_number_of_threads(never, 100_000) == 3


def test_nothing_is_measured_where_there_is_one_only(three_threads):
    torch.set_num_threads(1)
    assert faster_number_of_threads(never, 100_000) == 1


def test_a_short_run_does_not_wait_for_a_measurement(three_threads, caplog):
    steps = []
    assert faster_number_of_threads(lambda: lambda: (steps.append(1), step_of(1, 1)()), 500) == 3
    assert len(steps) == 2
    assert caplog.messages == []


def test_a_collapse_of_the_speed_is_said_once_with_advice(tmp_path, caplog, three_threads):
    watch = SpeedWatch(tmp_path)
    for images in (300, 1000, 400, 1000):  # a first interval, good ones and one with company
        watch.add(images, WINDOW_SECONDS)
    assert caplog.messages == []
    for _ in range(100):  # rows of a log that are much shorter than it takes to judge
        watch.add(1, WINDOW_SECONDS / 50)
    (message,) = caplog.messages
    assert message.startswith("training makes 10 images/s and has made 200, perhaps because")
    assert message.endswith(f"one thread may be faster than 3: resume={tmp_path} trainer.threads=1")


def test_no_advice_where_there_is_one_thread_already(tmp_path, caplog):
    watch = SpeedWatch(tmp_path)
    watch.add(1000, WINDOW_SECONDS)
    watch.add(10, WINDOW_SECONDS)
    (message,) = caplog.messages
    assert message.endswith("use the cores")


def test_an_interval_that_is_slow_for_a_moment_is_no_collapse(tmp_path, caplog):
    watch = SpeedWatch(tmp_path)
    for _ in range(100):
        watch.add(1000, 1.0)
        watch.add(1, 0.5)
    assert caplog.messages == []

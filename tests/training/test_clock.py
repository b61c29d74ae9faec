"""The clock of the training steps."""

import time

import pytest
import torch

from vaelab.training import clock as module
from vaelab.training.clock import Clock

CPU = torch.device("cpu")


@pytest.fixture
def now(monkeypatch):
    """The time, which passes only where it is told to."""
    at = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: at[0])
    return at


def test_what_passes_while_it_runs_is_counted(now):
    counted = []
    clock = Clock(CPU, counted.append)
    for seconds in (3, 4):
        clock.start()
        now[0] += seconds
        clock.stop()
        now[0] += 10
    clock.stop()
    assert counted == [3, 4]


def test_a_pause_is_left_out_and_starts_no_clock_that_stood(now):
    counted = []
    clock = Clock(CPU, counted.append)
    with clock.paused():
        now[0] += 10
    now[0] += 10
    clock.start()
    now[0] += 1
    with pytest.raises(ZeroDivisionError), clock.paused():
        now[0] += 10
        _ = 1 / 0
    now[0] += 2
    clock.stop()
    assert counted == [1, 2]


def test_what_the_device_still_has_to_do_counts(now, monkeypatch):
    counted = []
    monkeypatch.setattr(module, "synchronize", lambda device: now.__setitem__(0, now[0] + 5))
    clock = Clock(CPU, counted.append)
    clock.start()
    clock.stop()
    assert counted == [5]

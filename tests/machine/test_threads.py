"""The number of threads: what was asked for, kept, or faster; and it stays within its run."""

import copy
import json
import logging
import time

import pytest
import torch

from vaelab.machine.threads import WINDOW_SECONDS, SpeedWatch, faster_number_of_threads, own_number_of_threads
from vaelab.run.build import Builder
from vaelab.run.logger import NoLogger
from vaelab.training import loop
from vaelab.training.loop import Trainer
from vaelab.training.signals import StopRequest

SMALL = ("dataset=digits", "logger=local", "trainer.pictures_every=0", "latent.dim=4", "model.hidden=[32]")


@pytest.fixture
def three_threads(monkeypatch):
    """torch would use three threads, whatever the machine, and nobody has said otherwise."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with own_number_of_threads():
        torch.set_num_threads(3)
        yield


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


def test_the_number_ends_with_its_run(inline, tmp_path):
    before = torch.get_num_threads()
    code, _, err = inline("-m", *SMALL, "trainer.max_steps=1", "trainer.threads=2,auto", "hydra.sweep.dir=sweep")
    assert code == 0, err
    summaries = [json.loads((tmp_path / f"sweep/{number}/summary.json").read_text()) for number in (0, 1)]
    assert [summary["threads"] for summary in summaries] == [2, before]
    assert torch.get_num_threads() == before


def test_a_resumed_run_keeps_the_number_of_its_beginning_where_it_has_so_many(
    inline, tmp_path, monkeypatch, three_threads
):
    def run(measured, *arguments):
        monkeypatch.setattr(loop, "faster_number_of_threads", lambda step, steps: measured)
        code, _, err = inline(*arguments)
        assert code == 0, err
        return json.loads((tmp_path / "run/summary.json").read_text())["threads"]

    assert run(3, *SMALL, "trainer.max_steps=1", "hydra.run.dir=run") == 3
    assert run(2, "resume=run", "trainer.max_steps=2") == 3
    torch.set_num_threads(2)  # as a launcher does that gives several jobs their share
    assert run(1, "resume=run", "trainer.max_steps=3") == 2
    assert run(2, "resume=run", "trainer.max_steps=4", "trainer.threads=1") == 1


@pytest.mark.parametrize("threads", [0, -1, 1.5, True, "all", None, 100_000])
def test_a_number_of_threads_that_is_none_is_refused(inline, threads):
    code, _, err = inline(*SMALL, f"trainer.threads={'null' if threads is None else threads}")
    assert code == 1
    assert "trainer.threads must be auto or a number from 1 to 1,024" in err


@pytest.fixture
def trainer(compose, tmp_path):
    """A trainer that has made no step."""
    return Trainer(Builder(compose(*SMALL), None).setup(), NoLogger(), tmp_path, StopRequest())


def test_the_steps_that_are_measured_change_nothing_of_the_run(trainer):
    trainer.step(*next(trainer.batches.epoch(0, 0)))  # Adam has moments
    weights, moments = copy.deepcopy((trainer.model.state_dict(), trainer.optimizer.state_dict()["state"]))
    progress, generator = copy.deepcopy(trainer.progress), torch.get_rng_state()
    step = trainer._step_of_a_copy()
    first, second = step(), step()
    assert first["loss"] == second["loss"]
    assert (trainer.progress, torch.equal(torch.get_rng_state(), generator)) == (progress, True)
    for name, value in trainer.model.state_dict().items():
        assert torch.equal(value, weights[name])
    for number, state in trainer.optimizer.state_dict()["state"].items():
        assert all(torch.equal(value, moments[number][name]) for name, value in state.items())
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in trainer.model.parameters())


def test_the_steps_that_are_measured_do_not_diverge(compose, tmp_path):
    config = compose(*SMALL, "optimizer=sgd", "optimizer.lr=1000")
    trainer = Trainer(Builder(config, None).setup(), NoLogger(), tmp_path, StopRequest())
    step = trainer._step_of_a_copy()
    assert len({step()["loss"].item() for _ in range(20)}) == 1


def test_a_model_that_cannot_be_copied_trains_with_all_threads(trainer, three_threads, caplog):
    caplog.set_level(logging.INFO)
    trainer.model.kept = (number for number in range(3))  # a generator can be copied as little as a lock
    trainer._set_threads()
    assert trainer.progress.threads == 3
    assert "no step could be measured (cannot pickle 'generator' object)" in caplog.text


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

"""The number of threads of a run: what was asked for, kept, or faster; and it stays within its run."""

import copy
import json
import logging

import pytest
import torch

from helpers.small_training import trainer_of
from vaelab.machine.ranks import SINGLE
from vaelab.run.build import Builder
from vaelab.training import threads
from vaelab.training.threads import use_threads

SMALL = ("dataset=digits", "logger=local", "trainer.pictures_every=0", "latent.dim=4", "model.hidden=[32]")


@pytest.mark.slow
def test_the_number_ends_with_its_run(inline, tmp_path):
    before = torch.get_num_threads()
    code, _, err = inline("-m", *SMALL, "trainer.max_steps=1", "trainer.threads=2,auto", "hydra.sweep.dir=sweep")
    assert code == 0, err
    summaries = [json.loads((tmp_path / f"sweep/{number}/summary.json").read_text()) for number in (0, 1)]
    assert [summary["threads"] for summary in summaries] == [2, before]
    assert torch.get_num_threads() == before


@pytest.mark.slow
def test_a_resumed_run_keeps_the_number_of_its_beginning_where_it_has_so_many(
    inline, tmp_path, monkeypatch, three_threads
):
    def run(measured, *arguments):
        monkeypatch.setattr(threads, "faster_number_of_threads", lambda *_: measured)
        code, _, err = inline(*arguments)
        assert code == 0, err
        return json.loads((tmp_path / "run/summary.json").read_text())["threads"]

    assert run(3, *SMALL, "trainer.max_steps=1", "hydra.run.dir=run") == 3
    assert run(2, "resume=run", "trainer.max_steps=2") == 3
    torch.set_num_threads(2)  # as a launcher does that gives several jobs their share
    assert run(1, "resume=run", "trainer.max_steps=3") == 2
    assert run(2, "resume=run", "trainer.max_steps=4", "trainer.threads=1") == 1


@pytest.fixture
def trainer(compose, tmp_path):
    """A trainer that has made no step."""
    return trainer_of(Builder(compose(*SMALL), None).setup(), tmp_path)


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
    trainer = trainer_of(Builder(config, None).setup(), tmp_path)
    step = trainer._step_of_a_copy()
    assert len({step()["loss"].item() for _ in range(20)}) == 1


def test_a_model_that_cannot_be_copied_trains_with_all_threads(trainer, three_threads, caplog):
    caplog.set_level(logging.INFO)
    trainer.model.kept = (number for number in range(3))  # a generator can be copied as little as a lock
    use_threads("auto", trainer.progress, SINGLE, trainer._step_of_a_copy, 100_000)
    assert trainer.progress.threads == 3
    assert "no step could be measured (cannot pickle 'generator' object)" in caplog.text

"""Trainings without a run directory's files: a few steps in this process."""

import pytest
import torch

from vaelab.training.clock import Clock
from vaelab.training.compiled import CompiledStep
from vaelab.training.loop import Trainer
from vaelab.training.signals import StopRequest
from vaelab.training.step import EagerStep, has_networks


class Recorder:
    """Records nothing."""

    position = None

    def log(self, row):
        pass

    def log_pictures(self, names):
        pass

    def draw_curves(self, title, picture_format):
        pass

    def rewind(self, position):
        pass


def trainer_of(setup, run_dir):
    return Trainer(setup, Recorder(), run_dir, StopRequest())


def train(trainer, steps):
    """Make the next steps of the first epoch."""
    trainer.model.train()
    for batch, _ in zip(trainer.batches.epoch(0, trainer.progress.position), range(steps), strict=False):
        trainer.step(*batch)


def assert_trains_compiled_as_eagerly(build, tmp_path):
    """A few compiled steps of batches of 64 have the sums of terms that eager ones have.

    Args:
        build: gives a new setup, always the same.
        tmp_path: where checkpoints may lie.
    """
    eager, compiled = (trainer_of(build(), tmp_path) for _ in range(2))
    step = EagerStep(compiled.model, compiled.objective, compiled.optimizer, None)
    compiled.train_step = CompiledStep(step, 64, insists=True, clock=Clock(compiled.device, lambda seconds: None))
    for trainer in (eager, compiled):
        train(trainer, 6)
    assert compiled.train_step._graph is not None
    assert compiled.meter.read()[0] == pytest.approx(eager.meter.read()[0], rel=1e-4)


def assert_resumes_bit_for_bit(build, steps, tmp_path):
    """A training of twice so many steps changes every weight, and equals one resumed halfway; returns it.

    Args:
        build: gives a new setup, always the same.
        steps: of each half.
        tmp_path: where checkpoints may lie.
    """
    whole, first, second = (trainer_of(build(), tmp_path / each) for each in ("whole", "parts", "parts"))
    before = {name: parameter.clone() for name, parameter in whole.model.named_parameters()}
    train(whole, 2 * steps)
    for name, parameter in whole.model.named_parameters():
        assert not torch.equal(parameter, before[name]), name
    train(first, steps)
    first.save()
    first.checkpoints.finish()
    second.restore()
    train(second, steps)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name
    if has_networks(whole.objective):
        one, other = whole.objective, second.objective
        torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=0, atol=0)
        moments, others = (each.optimizer.state_dict()["state"] for each in (one, other))
        torch.testing.assert_close(moments, others, rtol=0, atol=0)
    return whole

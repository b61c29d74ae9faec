"""Which step a run makes."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from helpers.steps import B, eager_step
from vaelab.errors import UserError
from vaelab.machine.ranks import SINGLE, Ranks
from vaelab.training.choose_step import training_step
from vaelab.training.clock import Clock
from vaelab.training.compiled import PAYS_FROM_STEPS, CompiledStep
from vaelab.training.shared import SharedStep
from vaelab.training.signals import StopRequest
from vaelab.training.step import EagerStep

TWO = Ranks(0, 2)


def chosen(compile, steps=PAYS_FROM_STEPS, ranks=SINGLE, eager=None):
    config = SimpleNamespace(compile=compile, batch_size=B)
    clock = Clock(torch.device("cpu"), lambda seconds: None)
    return training_step(eager or eager_step(), config, steps, ranks, StopRequest(), clock)


def with_convolutions():
    eager = eager_step()
    eager.model.encoder.layers.append(nn.Conv2d(1, 1, 1))
    return eager


def untraceable():
    eager = eager_step()
    eager.objective.compiles = False
    return eager


@pytest.mark.parametrize(
    ("compile", "given", "kind"),
    [
        ("auto", {}, CompiledStep),
        ("auto", {"steps": PAYS_FROM_STEPS - 1}, EagerStep),
        ("auto", {"ranks": TWO}, SharedStep),
        (True, {"steps": 1}, CompiledStep),
        (False, {"steps": 10**6}, EagerStep),
        (False, {"ranks": TWO}, SharedStep),
    ],
)
def test_a_step_is_compiled_where_that_pays_or_is_asked_for_and_shared_by_ranks(compile, given, kind):
    step = chosen(compile, **given)
    assert type(step) is kind
    assert kind is not CompiledStep or step.insists is (compile is True)


@pytest.mark.parametrize("make", [with_convolutions, untraceable, lambda: eager_step("sgd")])
def test_what_gains_nothing_or_cannot_be_compiled_is_eager(make):
    assert type(chosen("auto", 10**6, eager=make())) is EagerStep


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"ranks": TWO}, "is for a single process, got 2 ranks"),
        ({"eager": untraceable()}, "needs an objective and a model that can be traced, got ELBO"),
    ],
)
def test_who_insists_on_compiling_what_cannot_be_is_told_why(given, sentence):
    with pytest.raises(UserError, match=rf"trainer\.compile=true {sentence}"):
        chosen(True, **given)


def test_a_loss_that_compares_the_images_of_a_batch_is_not_shared():
    eager = eager_step()
    eager.objective.is_mean_over_images = False
    with pytest.raises(UserError, match="ELBO compares the images of a batch, of which each of 2 ranks would see"):
        chosen(False, ranks=TWO, eager=eager)
    assert chosen(False, eager=eager)


def test_a_shared_step_votes_to_stop_once_a_signal_has_come():
    step = chosen(False, ranks=TWO)
    assert not step.wants_to_stop()
    stop = StopRequest()
    config = SimpleNamespace(compile=False, batch_size=B)
    step = training_step(eager_step(), config, 1, TWO, stop, Clock(torch.device("cpu"), lambda seconds: None))
    stop.signum = 15
    assert step.wants_to_stop()

"""Runs that make their steps together are, each of them, the run that they are by themselves."""

import pytest
import torch

from helpers.small_training import trainer_of
from vaelab.errors import UserError
from vaelab.run.build import Builder
from vaelab.training import stackable
from vaelab.training.compiled import CompiledStep
from vaelab.training.program import Program
from vaelab.training.signals import StopRequest
from vaelab.training.stacking import ROWS_ON_CPU, stacks_of

SMALL = ("dataset=digits", "latent.dim=4", "trainer.batch_size=500", "trainer.log_every=5", "trainer.compile=false")
MLP = (*SMALL, "model=mlp", "model.hidden=[16]")
LADDER = ("model=ladder", "model.channels=[8,8]", "model.blocks=[1,1]", "model.groups=[0,1]", "model.channels_z=1")
DIFFERENT = ("objective.beta=0.5", "optimizer.lr=0.003", "optimizer.lr=0.01")  # beside the first, and in the seed


@pytest.fixture
def runs(compose, tmp_path):
    """Trainers of runs with these overrides, and each with one of its own, whose seeds are 0, 1, ..."""

    def make(*overrides, own=("seed=0", *DIFFERENT)):
        def run(seed, given):
            trainer = trainer_of(Builder(compose(*overrides, f"seed={seed}", given), None).setup(), tmp_path / "run")
            trainer.model.train()
            return trainer

        return [run(seed, given) for seed, given in enumerate(own)]

    return make


def train_stacked(trainers, steps):
    """Make so many steps in stacks; of each trainer the norms that were to be logged."""
    stacks, alone = stacks_of(trainers)
    assert not alone
    norms = {trainer: [] for trainer in trainers}
    while trainers[0].progress.step < steps:
        for stack in stacks:
            for trainer, norm in stack.train(stack.trainers, StopRequest()).items():
                if trainer.is_due_to_log:
                    norms[trainer].append(norm)
        end_epochs(trainers)
    return norms


def train_alone(trainer, steps):
    norms = []
    while trainer.progress.step < steps:
        norms += [float(norm) for norm in trainer.own_steps() if norm is not None]
        end_epochs([trainer])
    return norms


def end_epochs(trainers):
    for trainer in trainers:
        if not trainer.is_in_epoch:
            sums, images = trainer.meter.read()
            trainer.progress.count_images(sums, images)
            trainer.progress.train = dict(trainer.progress.epoch_sums)
            trainer.progress.end_epoch(len(trainer.batches.images))


def assert_same_runs(stacked, alone, steps):
    norms = train_stacked(stacked, steps)
    for trainer, other in zip(stacked, alone, strict=True):
        assert norms[trainer] == pytest.approx(train_alone(other, steps), rel=1e-3)
        assert trainer.progress.train == pytest.approx(other.progress.train, rel=1e-5)
        assert trainer.progress.step == other.progress.step
        torch.testing.assert_close(trainer.model.state_dict(), other.model.state_dict(), rtol=1e-3, atol=1e-5)
        moments = trainer.optimizer.state_dict()["state"]
        torch.testing.assert_close(moments, other.optimizer.state_dict()["state"], rtol=1e-3, atol=1e-5)
        if trainer.average is not None:
            averages = (each.average.model.state_dict() for each in (trainer, other))
            torch.testing.assert_close(*averages, rtol=1e-3, atol=1e-5)


OPTIONS = {
    "as many as the program has rows": (*MLP, "scheduler=cosine"),
    "an average, and a gradient that is clipped": (*MLP, "trainer.ema=0.9", "trainer.grad_clip=10", "optimizer=adamw"),
    "warm-up": (*MLP, "objective.warmup_steps=7", "prior=vamp", "prior.components=5"),
    "a ladder, whose noise is a tuple": (*SMALL, *LADDER),
    "labels": (*MLP, "conditional=labels"),
    "levels": (*MLP, "dataset.binarize=none", "likelihood=logistic"),
}


@pytest.mark.slow
@pytest.mark.parametrize("overrides", OPTIONS.values(), ids=OPTIONS)
def test_each_is_the_run_that_it_is_alone(runs, overrides):
    # 15 steps are five epochs of 500, 500 and 437 images
    assert_same_runs(runs(*overrides), runs(*overrides), 15)


@pytest.mark.slow
def test_more_runs_than_rows_are_several_stacks(runs):
    own = [f"optimizer.lr={0.001 * (1 + number)}" for number in range(ROWS_ON_CPU + 1)]
    stacked = runs(*MLP, own=own)
    assert [len(stack.trainers) for stack in stacks_of(stacked)[0]] == [ROWS_ON_CPU, 1]
    assert_same_runs(runs(*MLP, own=own), runs(*MLP, own=own), 3)


@pytest.mark.slow
def test_their_program_does_what_their_step_does(runs, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    overrides = (*OPTIONS["an average, and a gradient that is clipped"], "trainer.compile=true")
    stacked = runs(*overrides)
    (stack,) = stacks_of(stacked)[0]
    assert isinstance(stack.make_step, Program)
    stacked, alone = runs(*overrides), runs(*overrides[:-1], "trainer.compile=false")
    for trainer in (*stacked, *alone):  # so that the next batch is the smaller last one of an epoch
        assert len([*zip(range(2), trainer.own_steps(), strict=False)]) == 2
    assert_same_runs(stacked, alone, 30)


@pytest.mark.slow
def test_one_whose_loss_is_not_finite_ends_alone(runs):
    stacked, alone = runs(*MLP), runs(*MLP)
    (stack,) = stacks_of(stacked)[0]
    stack.train(stacked, StopRequest())
    end_epochs(stacked)
    with torch.no_grad():
        next(stacked[1].model.parameters()).fill_(torch.nan)
    answers = stack.train(stacked, StopRequest())
    assert isinstance(answers.pop(stacked[1]), UserError)
    assert answers.keys() == {stacked[0], *stacked[2:]}
    going_on = [stacked[0], *stacked[2:]]
    while stacked[0].progress.step < 6:
        stack.train(going_on, StopRequest())
        end_epochs(going_on)
    for number in (0, 2, 3):
        train_alone(alone[number], 6)
        weights = stacked[number].model.state_dict(), alone[number].model.state_dict()
        torch.testing.assert_close(*weights, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_an_exception_of_one_leaves_the_others_what_they_are(runs):
    stacked, alone = runs(*MLP), runs(*MLP)

    def schedule(step, total):
        if step == 4:
            raise RuntimeError("a schedule of one's own")
        return 1.0

    stacked[1].schedule = schedule
    (stack,) = stacks_of(stacked)[0]
    going_on, answers = stacked, {}
    while stacked[0].progress.step < 6:
        answers |= stack.train(going_on, StopRequest())
        going_on = [trainer for trainer in going_on if not isinstance(answers[trainer], Exception)]
        end_epochs(going_on)
    assert str(answers[stacked[1]]) == "a schedule of one's own"
    assert going_on == [stacked[0], *stacked[2:]]
    for number in (0, 2, 3):
        train_alone(alone[number], 6)
        weights = stacked[number].model.state_dict(), alone[number].model.state_dict()
        torch.testing.assert_close(*weights, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_a_stop_is_answered_after_the_step_that_is_made(runs):
    trainers = runs(*MLP)
    (stack,) = stacks_of(trainers)[0]
    stop = StopRequest()
    stop.signum = 15
    stack.train(trainers, stop)
    assert [trainer.progress.step for trainer in trainers] == [1] * len(trainers)


@pytest.mark.slow
def test_runs_of_other_shapes_and_settings_are_stacks_of_their_own(runs):
    own = ("latent.dim=3", "latent.dim=5", "trainer.batch_size=400", "objective.samples=2", "optimizer.eps=1e-7")
    trainers = runs(*MLP, own=own) + runs(*MLP, own=own)
    pairs = [[one, other] for one, other in zip(trainers[:5], trainers[5:], strict=True)]
    assert [stack.trainers for stack in stacks_of(trainers)[0]] == pairs


WHY_ALONE = {
    ("model.hidden=[16]",): "no other run has its shapes",
    ("objective=factor",): "cannot be recorded as one graph",
    ("optimizer=sgd",): "SGD is not vaelab's own",
    ("trainer.profile=true",): "traces the steps of one run",
    ("model.hidden=[1000]",): "weights are more than the 120,000",
    ("model.hidden=[400]", "trainer.compile=true"): "weights are more than the 40,000",
    ("objective=piwae",): "beside others it would not be the same run",
}


@pytest.mark.parametrize("overrides", WHY_ALONE, ids=" ".join)
def test_it_is_said_why_a_run_is_better_off_alone(runs, overrides):
    trainers = runs(*MLP, *overrides, own=("seed=0",) * (1 if overrides == ("model.hidden=[16]",) else 2))
    stacks, alone = stacks_of(trainers)
    assert not stacks
    assert all(WHY_ALONE[overrides] in alone[trainer] for trainer in trainers)


@pytest.mark.parametrize(
    ("own", "pays"),
    [
        (("seed=0", "seed=1"), True),
        (("seed=0", "objective.beta=0.5"), False),
        (("trainer.grad_clip=1", "trainer.grad_clip=2"), False),
    ],
)
def test_runs_too_large_to_be_stacked_compile_their_steps_where_that_pays_for_all_of_one_program(runs, own, pays):
    large = ("model.hidden=[1000]", "trainer.compile=auto", "trainer.epochs=2000")  # 6,000 steps each
    trainers = runs(*MLP, *large, own=own)
    assert not any(isinstance(trainer.train_step, CompiledStep) for trainer in trainers)
    stacks, alone = stacks_of(trainers)
    assert not stacks
    for trainer in trainers:
        assert isinstance(trainer.train_step, CompiledStep) == pays
        assert "weights are more than the" in alone[trainer]


class HidesItsWeight:
    """An objective whose weight of the KL is where nobody looks for it."""

    samples, is_mean_over_images, compiles = 1, True, True

    def __init__(self, weight):
        self.weights = [weight]

    def __call__(self, model, x, noise, step=None, y=None):
        trace = model(x, noise, y)
        return self.weights[0] * trace.kl.mean() - trace.log_px.mean(), trace, {}


def test_numbers_that_cannot_be_replaced_make_forms_of_their_own(runs):
    trainers = runs(*MLP)
    for trainer, weight in zip(trainers, (0.5, 0.5, 1.0, 1.0), strict=True):
        trainer.objective = HidesItsWeight(weight)
    assert [stack.trainers for stack in stacks_of(trainers)[0]] == [trainers[:2], trainers[2:]]


def test_the_attributes_whose_numbers_differ_are_found_in_any_part(runs):
    trainers = runs(*MLP, "posterior=gaussian", own=("objective.beta=1", "objective.beta=0.5"))
    names = {number.name for number in stackable.differing_numbers([stackable.parts_of(run) for run in trainers])}
    assert names == {"beta"}
    assert stackable.form_of(trainers[0]) == stackable.form_of(trainers[1])

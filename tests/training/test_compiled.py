"""The compiled step gives what the eager one gives."""

import copy
from functools import partial

import pytest
import torch
from torch import nn

from helpers.fakes import labelled_vae, small_vae
from helpers.steps import D, compiled_step, eager_of, eager_step, losses, make_step, tensors
from vaelab.distributions import Normal, StandardNormal
from vaelab.errors import UserError
from vaelab.likelihood.gaussian import GaussianLikelihood
from vaelab.objective.elbo import ELBO
from vaelab.training import compiled, program
from vaelab.training.clock import Clock
from vaelab.training.compiled import can_compile, pays


class LearnedPrior(nn.Module):
    """p(z) = N(mean, sigma²) with a parameter for each."""

    def __init__(self):
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(D))
        self.log_sigma = nn.Parameter(torch.zeros(D))

    def forward(self, infer):
        return Normal(self.mean, 2 * self.log_sigma)


def assert_same_steps(**options):
    """The losses, weights and moments of compiled steps are those of eager ones; returns the compiled step.

    Args:
        options: of both; a function gives each its own model.
    """
    make_model = options.pop("model", lambda: None)
    eager, fast = eager_step(model=make_model(), **options), compiled_step(model=make_model(), **options)
    assert losses(fast, range(30)) == pytest.approx(losses(eager, range(30)), rel=1e-5)
    assert fast._graph is not None
    found = tensors(fast)
    for name, value in tensors(eager).items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-5)
    return fast


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "adam with weight decay", "grad_clip": 5.0},
        {"optimizer": "adamw", "objective": ELBO(2.0, 20, 3)},
        {"optimizer": "adam decoupled", "model": labelled_vae},
        {"optimizer": "sgd", "grad_clip": 5.0},
        {"optimizer": "muon"},
    ],
    ids=[
        *("adam that decays and is clipped", "adamw with warm-up and three samples", "decoupled and with labels"),
        *("another optimizer that is clipped", "two groups of parameters"),
    ],
)
def test_compiled_steps_give_the_losses_of_eager_ones(options):
    assert_same_steps(**options)


@pytest.mark.slow
def test_a_prior_and_a_likelihood_with_parameters_are_compiled():
    def learned():
        return small_vae(D, LearnedPrior(), GaussianLikelihood("learned"))

    before = learned().state_dict()
    after = assert_same_steps(model=learned, objective=ELBO(1.0, 0, 3)).eager.model.state_dict()
    assert {"prior.mean", "prior.log_sigma", "likelihood.raw_log_sigma"} < before.keys()
    for name, value in before.items():
        assert not torch.equal(after[name], value), name


@pytest.mark.slow
def test_each_model_has_a_program_of_its_own():
    weights = (1.0, 2.0, 3.0)
    fast = [compiled_step(objective=ELBO(beta, 0, 1)) for beta in weights]
    found = list(zip(*(losses(step, range(5)) for step in fast), strict=True))
    again = list(zip(*(losses(step, range(5, 10)) for step in fast), strict=True))
    eager = [eager_step(objective=ELBO(beta, 0, 1)) for beta in weights]
    expected = zip(*(losses(step, range(10)) for step in eager), strict=True)
    assert [*found, *again] == [pytest.approx(step, rel=1e-5) for step in expected]


@pytest.mark.slow
def test_compiled_steps_of_a_copy_that_was_resumed_are_the_same_to_the_last_bit():
    whole, resumed = compiled_step(), compiled_step()
    losses(whole, range(15))
    resumed.eager.model.load_state_dict(whole.eager.model.state_dict())
    resumed.eager.optimizer.load_state_dict(copy.deepcopy(whole.eager.optimizer.state_dict()))
    assert losses(resumed, range(15, 30)) == losses(whole, range(15, 30))
    found = tensors(resumed)
    for name, value in tensors(whole).items():
        assert torch.equal(found[name], value)


@pytest.mark.slow
def test_a_compiled_step_whose_loss_is_not_finite_changes_nothing():
    step = compiled_step()
    losses(step, range(3))
    with torch.no_grad():
        next(step.eager.model.decoder.parameters())[0, 0] = torch.nan
    before = tensors(step)
    with pytest.raises(UserError, match=r"not finite at step 4 \(loss = nan, elbo = nan"):
        make_step(step, 3)
    for name, value in tensors(step).items():
        assert torch.equal(value.nan_to_num(7.0), before[name].nan_to_num(7.0)), name


@pytest.mark.slow
def test_compiled_bfloat16_stays_close_to_eager_bfloat16():
    found = losses(compiled_step(bfloat16=True), range(50))
    assert found == pytest.approx(losses(eager_step(bfloat16=True), range(50)), rel=1e-3)
    assert found != pytest.approx(losses(eager_step(), range(50)), rel=1e-6)


@pytest.mark.slow
def test_adam_that_begins_late_corrects_for_its_own_steps():
    late, eager = compiled_step(), eager_step()
    assert losses(late, range(40, 60)) == pytest.approx(losses(eager, range(40, 60)), rel=1e-5)


# Without a compiler


@pytest.fixture
def compiler(monkeypatch, tmp_path):
    """Lets a function compile instead of the compiler, with nothing in the cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return lambda function: monkeypatch.setattr(program, "_compile", function)


def fails(*_):
    raise RuntimeError("no compiler\nwas found")


class Interpreted:
    """Stands in for a program: calls the function."""

    def __init__(self, function, held, most):
        self.function = function
        self.held = held

    def __call__(self, *given):
        return self.function(*self.held, *given)


def test_without_a_compiler_the_steps_are_eager_ones(compiler, caplog):
    compiler(fails)
    assert losses(compiled_step(insists=False), range(6)) == losses(eager_step(), range(6))
    found = [record.message for record in caplog.records if record.name.startswith("vaelab")]
    assert found == ["the training step could not be compiled and runs as it is (no compiler was found)"]


def test_a_step_too_large_to_pay_is_compiled_only_for_who_insists(compiler, monkeypatch, caplog):
    compiler(fails)
    monkeypatch.setattr(compiled, "MOST_OPERATIONS", 10)
    assert losses(compiled_step(insists=False), range(6)) == losses(eager_step(), range(6))
    assert any("operations would compile longer than that saves" in message for message in caplog.messages)
    with pytest.raises(UserError, match="no compiler"):
        losses(compiled_step(), range(2))


def test_what_does_not_train_stays_as_it_is(monkeypatch):
    monkeypatch.setattr(compiled, "Program", Interpreted)

    def frozen():
        model = small_vae(D)
        first = next(model.decoder.parameters())
        first.requires_grad_(False)
        return model

    before = next(frozen().decoder.parameters()).clone()
    eager, fast = eager_step(model=frozen()), compiled_step(model=frozen())
    assert losses(fast, range(6)) == pytest.approx(losses(eager, range(6)), rel=1e-5)
    assert torch.equal(next(fast.eager.model.decoder.parameters()), before)


class Counts(nn.Module):
    """A standard normal that keeps how often it was asked for."""

    def __init__(self, way):
        super().__init__()
        self.way = way
        self.register_buffer("count", torch.zeros(()))

    def forward(self, infer):
        if self.way == "replaced":
            self.count = self.count + infer(torch.ones(1, 1, 8, 8)).mean.mean()
        else:
            self.count.add_(1)
        return StandardNormal()


@pytest.mark.parametrize("way", ["replaced", "in place"])
def test_a_model_that_changes_a_buffer_is_not_compiled(way, caplog):
    eager, fast = (make(model=small_vae(D, Counts(way))) for make in (eager_step, partial(compiled_step, False)))
    assert losses(fast, range(6)) == losses(eager, range(6))
    assert any("a step changes a buffer" in message for message in caplog.messages)
    assert torch.equal(fast.eager.model.prior.count, eager.model.prior.count) and eager.model.prior.count > 0


@pytest.mark.parametrize("insists", [True, False])
def test_a_compiled_step_that_runs_out_of_memory_says_so(compiler, insists):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    compiler(full)
    with pytest.raises(torch.OutOfMemoryError):
        losses(compiled_step(insists), range(2))


def test_who_insists_on_compiling_is_told_why_it_fails(compiler):
    compiler(fails)
    with pytest.raises(UserError, match=r"could not be compiled \(.*no compiler.*; use trainer.compile=false"):
        losses(compiled_step(), range(2))


@pytest.fixture
def compiled_calls(monkeypatch):
    """The numbers of the steps for which the program, which does nothing here, was called."""
    calls = []

    class Nothing(Interpreted):
        def __call__(self, given, *_):
            calls.append(int(given[2]))
            return {"loss": torch.tensor(1.0)}

    monkeypatch.setattr(compiled, "Program", Nothing)
    return calls


def test_the_first_step_those_that_want_the_norm_and_smaller_batches_are_eager(compiled_calls):
    step = compiled_step()
    for number, options in enumerate([{}, {}, {"grad_norm": True}, {"size": 5}, {}]):
        assert ("grad_norm" in make_step(step, number, **options)) == ("grad_norm" in options)
    assert compiled_calls == [1, 4]


def test_a_late_start_with_a_smaller_batch_is_eager_until_there_are_moments(compiled_calls):
    step = compiled_step()
    assert make_step(step, 7, size=3)["loss"] != 1
    make_step(step, 8)
    assert compiled_calls == [8]


def test_the_time_of_compiling_is_no_time_of_training(monkeypatch, compiled_calls):
    events = []

    class Watched(Clock):
        def start(self):
            events.append("start")
            super().start()

        def stop(self):
            events.append("stop")
            super().stop()

    clock = Watched(torch.device("cpu"), lambda seconds: None)
    step = compiled_step(clock=clock)
    clock.start()
    for number in range(4):
        make_step(step, number)
        events.append(number)
    assert events == ["start", 0, "stop", "start", 1, 2, 3]


# Whether it pays


def test_compiling_pays_for_long_runs_of_small_networks_with_adam():
    step = eager_step()
    assert pays(step, compiled.PAYS_FROM_STEPS)
    assert not pays(step, compiled.PAYS_FROM_STEPS - 1)
    assert not pays(eager_step("sgd"), 10**6)
    step.model.encoder.layers.append(nn.Conv2d(1, 1, 1))
    assert not pays(step, 10**6)


@pytest.mark.parametrize("of", ["objective", "a module"])
def test_what_says_that_it_cannot_be_traced_is_not(of):
    step = eager_step()
    assert can_compile(step.model, step.objective)
    (step.objective if of == "objective" else step.model.prior).compiles = False
    assert not can_compile(step.model, step.objective)
    assert not pays(eager_of(step), 10**6)

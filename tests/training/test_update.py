"""The training step: every way of making it gives what the eager one gives."""

import copy

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from helpers.fakes import LearnedPrior, small_vae
from vaelab.errors import UserError
from vaelab.likelihood.gaussian import GaussianLikelihood
from vaelab.objective.elbo import ELBO
from vaelab.ops import generator, unit_interval
from vaelab.training import compiled
from vaelab.training.average import MovingAverage
from vaelab.training.compiled import CompiledStep, _Adam, pays
from vaelab.training.loss import Loss
from vaelab.training.state import Meter
from vaelab.training.update import Update

B, D = 16, 3
ADAMS = {
    "adam": (torch.optim.Adam, {}),
    "adam with weight decay": (torch.optim.Adam, {"weight_decay": 0.1, "betas": (0.8, 0.95), "eps": 1e-3}),
    "adamw": (torch.optim.AdamW, {"weight_decay": 0.1}),
    "adam decoupled": (torch.optim.Adam, {"weight_decay": 0.1, "decoupled_weight_decay": True}),
}


def pixels(batch, uniform):
    x = unit_interval(batch)
    return x if uniform is None else uniform.lt(x).float()


def make(optimizer="adam", compile=False, grad_clip=None, objective=None, bfloat16=False, total_steps=1000, vae=None):
    vae = vae or small_vae(D)
    vae.bfloat16 = bfloat16
    kind, options = ADAMS.get(optimizer, (torch.optim.SGD, {}))
    return Update(
        Loss(vae, objective or ELBO(1.0, 0, 1)),
        kind(vae.parameters(), lr=1e-2, fused=True, **options),
        pixels,
        grad_clip,
        compile,
        B,
        total_steps,
    )


def step(update, number, size=B, want_grad_norm=False):
    noise = generator(0, "test", number)
    batch = torch.randint(256, (size, 1, 8, 8), generator=noise).to(torch.uint8)
    uniform = torch.rand(batch.shape, generator=noise)
    eps = torch.randn(update.loss.objective.samples, size, D, generator=noise)
    return update(batch, uniform, eps, number, want_grad_norm)


def losses(update, steps):
    found = []
    for number in steps:
        update.optimizer.param_groups[0]["lr"] = 1e-2 * (1 - number / 100)  # a schedule must not be compiled in
        found.append(step(update, number)[0]["loss"].item())
    return found


def tensors(update):
    """Weights and all that the optimizer keeps."""
    kept = dict(update.loss.vae.state_dict())
    for index, state in update.optimizer.state_dict()["state"].items():
        kept |= {f"{index}.{key}": value for key, value in state.items()}
    return {name: value.clone() for name, value in kept.items()}


@pytest.mark.parametrize("name", ADAMS)
def test_the_written_out_update_is_that_of_torch(name):
    kind, options = ADAMS[name]
    weight = torch.nn.Parameter(torch.linspace(-1, 1, 7))
    own = weight.detach().clone()
    optimizer = kind([weight], lr=0.01, **options)
    state = {"step": torch.tensor(0.0), "exp_avg": torch.zeros(7), "exp_avg_sq": torch.zeros(7)}
    adam = _Adam(optimizer.param_groups[0], decoupled="decoupled" in name or name == "adamw")
    beta1, beta2 = optimizer.param_groups[0]["betas"]
    for number in range(1, 30):
        weight.grad = torch.randn(7, generator=generator(0, "gradient", number))
        optimizer.step()
        corrections = torch.tensor(1 / (1 - beta1**number)), torch.tensor((1 - beta2**number) ** -0.5)
        adam.update(own, weight.grad, state, torch.tensor(0.01), corrections, torch.tensor(True))
        torch.testing.assert_close(own, weight.detach(), rtol=1e-5, atol=1e-7)
    for key, value in optimizer.state[weight].items():
        torch.testing.assert_close(state[key], value, rtol=1e-5, atol=1e-7)


def test_an_update_that_is_not_wanted_changes_nothing():
    weight, gradient = torch.ones(3), torch.full((3,), torch.nan)
    state = {"step": torch.tensor(4.0), "exp_avg": torch.ones(3), "exp_avg_sq": torch.ones(3)}
    group = {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.1}
    one = torch.tensor(1.0)
    for decoupled in (False, True):
        _Adam(group, decoupled).update(weight, gradient, state, one, (one, one), torch.tensor(False))
        assert torch.equal(torch.stack([weight, state["exp_avg"], state["exp_avg_sq"]]), torch.ones(3, 3))
        assert state["step"] == 4


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"optimizer": "adam with weight decay", "grad_clip": 5.0},
        {"optimizer": "adamw", "objective": ELBO(2.0, 30, 3)},
        {"optimizer": "adam decoupled"},
    ],
    ids=["adam", "clipped", "adamw with warm-up and three samples", "decoupled"],
)
def test_compiled_steps_give_the_losses_of_eager_ones(options):
    eager, fast = make(**options), make(compile=True, **options)
    expected = losses(eager, range(50))
    assert losses(fast, range(50)) == pytest.approx(expected, rel=1e-5)
    assert fast.compile_seconds > 0
    for name, value in tensors(eager).items():
        torch.testing.assert_close(tensors(fast)[name], value, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("samples", [1, 3])
def test_a_prior_and_a_likelihood_with_parameters_are_compiled(samples):
    def learned(compile):
        vae = small_vae(D, LearnedPrior(D), GaussianLikelihood("learned"))
        return make(vae=vae, compile=compile, objective=ELBO(1.0, 0, samples))

    eager, fast = learned(False), learned(True)
    before = tensors(fast)
    assert losses(fast, range(50)) == pytest.approx(losses(eager, range(50)), rel=1e-5)
    assert fast.compile_seconds > 0
    after, expected = tensors(fast), tensors(eager)
    assert {"prior.mean", "prior.log_sigma", "likelihood.raw_log_sigma"} < before.keys()
    for name, value in expected.items():
        torch.testing.assert_close(after[name], value, rtol=1e-3, atol=1e-5)
        assert not torch.equal(after[name], before.get(name, torch.zeros(()))), name


@pytest.mark.slow
def test_two_compiled_models_in_one_process_do_not_share_a_graph():
    one, other = make(compile=True), make(compile=True, objective=ELBO(3.0, 0, 1), optimizer="adam with weight decay")
    found = [(losses(one, [number])[0], losses(other, [number])[0]) for number in range(20)]
    expected = zip(
        losses(make(), range(20)),
        losses(make(objective=ELBO(3.0, 0, 1), optimizer="adam with weight decay"), range(20)),
        strict=True,
    )
    assert found == [pytest.approx(pair, rel=1e-5) for pair in expected]


@pytest.mark.slow
def test_compiled_steps_of_a_copy_that_was_resumed_are_the_same_to_the_last_bit():
    whole, part = make(compile=True), make(compile=True)
    expected = losses(whole, range(30))
    assert losses(part, range(15)) == expected[:15]
    resumed = make(compile=True)
    resumed.loss.vae.load_state_dict(part.loss.vae.state_dict())
    resumed.optimizer.load_state_dict(copy.deepcopy(part.optimizer.state_dict()))
    assert losses(resumed, range(15, 30)) == expected[15:]
    for name, value in tensors(whole).items():
        assert torch.equal(tensors(resumed)[name], value)


@pytest.mark.slow
def test_a_compiled_step_whose_loss_is_not_finite_changes_nothing():
    update = make(compile=True)
    losses(update, range(3))
    with torch.no_grad():
        next(update.loss.vae.decoder.parameters())[0, 0] = torch.nan
    before = tensors(update)
    with pytest.raises(UserError, match=r"not finite at step 4 \(loss = nan, elbo = nan"):
        step(update, 3)
    for name, value in tensors(update).items():
        assert torch.equal(value.nan_to_num(7.0), before[name].nan_to_num(7.0)), name


OPTIMIZERS = {
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=1e-2, fused=True),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=1e-2, fused=True),
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=1e-5, momentum=0.9, fused=True),
    "rmsprop": lambda parameters: torch.optim.RMSprop(parameters, lr=1e-3),
    "adam that is not fused": lambda parameters: torch.optim.Adam(parameters, lr=1e-2, fused=False),
}


def as_on_a_gpu(update):
    """The update as it is made where reading a value waits; torch's fused optimizers know the flag on the CPU too."""
    update._skips_by_itself = getattr(update.optimizer, "_step_supports_amp_scaling", False)
    return update


def make_with(optimizer):
    vae = small_vae(D)
    return Update(Loss(vae, ELBO(1.0, 0, 1)), OPTIMIZERS[optimizer](vae.parameters()), pixels, None, False, B, 1000)


@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("steps_before", [0, 3])
def test_an_eager_step_whose_loss_is_not_finite_changes_nothing(optimizer, gpu, steps_before):
    update = make_with(optimizer)
    if gpu:
        as_on_a_gpu(update)
    losses_before = [step(update, number)[0]["loss"].item() for number in range(steps_before)]
    before = tensors(update)
    weight = next(update.loss.vae.decoder.parameters())
    kept = weight[0, 0].item()
    weight.data[0, 0] = torch.nan
    meter = Meter()
    if gpu and optimizer in ("adam", "adamw", "sgd") and steps_before:
        meter.add(step(update, steps_before)[0], B, steps_before)
        with pytest.raises(UserError, match=rf"not finite at step {steps_before + 1} \(loss = nan, elbo = nan"):
            meter.read()
    else:
        with pytest.raises(UserError, match=rf"not finite at step {steps_before + 1} \(loss = nan, elbo = nan"):
            step(update, steps_before)
    weight.data[0, 0] = kept
    after = tensors(update)
    assert after.keys() == before.keys()
    for name, value in after.items():
        assert torch.equal(value, before[name]), name
    # and what follows is what would have followed
    whole = make_with(optimizer)
    assert [step(whole, number)[0]["loss"].item() for number in range(steps_before)] == losses_before
    for number in range(steps_before, steps_before + 3):
        assert torch.equal(step(update, number)[0]["loss"], step(whole, number)[0]["loss"])


class Reads(TorchDispatchMode):
    """Counts the values that the host reads, for each of which it would wait for a GPU."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.is_nonzero.default)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_an_eager_step_on_a_gpu_waits_for_nothing(optimizer):
    update = as_on_a_gpu(make_with(optimizer))
    average = MovingAverage(update.loss.vae, 0.9)
    meter = Meter()
    waits = []
    for number in range(4):
        with Reads() as reads:
            values, _ = step(update, number, want_grad_norm=number == 2)
            average.update()
            meter.add(values, B, number)
        waits.append(reads.count)
    assert waits[0] > 0  # the moments are made
    assert waits[1:] == [0, 0, 0]


def test_a_meter_names_the_first_step_that_was_not_finite():
    meter = Meter()
    for number in range(20):
        meter.add({"loss": torch.tensor(torch.nan if number in (7, 9) else 1.0), "kl": torch.tensor(2.0)}, B, number)
    with pytest.raises(UserError, match=r"the loss is not finite at step 8 \(loss = nan, kl = 2\)"):
        meter.state()


@pytest.mark.slow
def test_compiled_bfloat16_stays_close_to_eager_bfloat16():
    expected = losses(make(bfloat16=True), range(50))
    found = losses(make(bfloat16=True, compile=True), range(50))
    assert found == pytest.approx(expected, rel=1e-3)
    assert found != losses(make(compile=True), range(50))


@pytest.mark.slow
def test_more_models_than_a_code_object_keeps_graphs_for_are_compiled_in_one_process():
    for beta in range(10):
        update = make(compile=True, objective=ELBO(float(beta), 0, 1))
        assert losses(update, range(3)) == pytest.approx(
            losses(make(objective=update.loss.objective), range(3)), rel=1e-5
        )


@pytest.mark.slow
def test_adam_that_begins_late_corrects_for_its_own_steps():
    late, eager = make(compile=True), make()
    assert losses(late, range(40, 60)) == pytest.approx(losses(eager, range(40, 60)), rel=1e-5)


def test_a_late_start_with_a_smaller_batch_is_eager_until_there_are_moments():
    update = make(compile=True)
    assert torch.isfinite(step(update, 7, size=3)[0]["loss"])


def fails(*_, **__):
    raise RuntimeError("no compiler\nwas found")


def uncompilable(*_, **__):
    return fails


@pytest.mark.parametrize("replacement", [fails, uncompilable])
def test_without_a_compiler_the_steps_are_eager_ones(monkeypatch, caplog, replacement):
    monkeypatch.setattr(torch, "compile", replacement)
    monkeypatch.setattr(compiled, "PAYS_FROM_STEPS", 10)
    update = make(compile="auto")
    assert losses(update, range(6)) == losses(make(), range(6))
    assert caplog.messages == ["the training step could not be compiled and runs as it is (no compiler was found)"]


@pytest.mark.parametrize("compile", [True, "auto"])
def test_a_compiled_step_that_runs_out_of_memory_says_so(monkeypatch, compile):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch, "compile", lambda *_, **__: full)
    monkeypatch.setattr(compiled, "PAYS_FROM_STEPS", 10)
    with pytest.raises(torch.OutOfMemoryError):
        losses(make(compile=compile), range(2))


def test_who_insists_on_compiling_is_told_why_it_fails(monkeypatch):
    monkeypatch.setattr(torch, "compile", uncompilable)
    update = make(compile=True)
    with pytest.raises(UserError, match=r"could not be compiled \(.*no compiler.*; use trainer.compile=false"):
        losses(update, range(2))


def test_only_adam_can_be_compiled():
    with pytest.raises(UserError, match=r"trainer\.compile=true needs the optimizer adam or adamw, .* got SGD"):
        make(optimizer="sgd", compile=True)
    assert losses(make(optimizer="sgd", compile="auto", total_steps=10**6), range(3))


def test_compiling_pays_for_long_runs_of_small_networks():
    vae = small_vae(D)
    adam = torch.optim.Adam(vae.parameters())
    cpu = torch.device("cpu")
    assert pays(vae, adam, compiled.PAYS_FROM_STEPS, cpu)
    assert not pays(vae, adam, compiled.PAYS_FROM_STEPS - 1, cpu)
    assert not pays(vae, torch.optim.Adam(vae.parameters(), amsgrad=True), 10**6, cpu)
    vae.encoder.layers.append(torch.nn.Conv2d(1, 1, 1))
    assert not pays(vae, adam, 10**6, cpu)


def test_steps_that_want_the_norm_and_smaller_batches_are_eager(monkeypatch):
    calls = []

    def recorded(self, *arguments):
        calls.append(arguments[-1])
        return {"loss": torch.tensor(1.0)}

    monkeypatch.setattr(CompiledStep, "__call__", recorded)
    update = make(compile=True)
    for number, options in enumerate([{}, {}, {"want_grad_norm": True}, {"size": 5}, {}]):
        _, norm = step(update, number, **options)
        assert (norm is not None) == ("want_grad_norm" in options)
    assert calls == [1, 4]

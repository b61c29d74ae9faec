"""The eager step: what it returns, clips and leaves alone, and that a GPU waits for none of it."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from helpers.fakes import labelled_vae
from helpers.steps import B, eager_step, losses, make_step, tensors
from vaelab.errors import UserError
from vaelab.training.average import MovingAverage
from vaelab.training.meter import Meter


def as_on_a_gpu(step):
    """The step as it is made where reading a value waits; torch's fused optimizers know the flag on the CPU too."""
    step._skips_by_itself = getattr(step.optimizer, "_step_supports_amp_scaling", False)
    return step


def test_a_step_returns_the_loss_with_its_terms_and_the_norm_where_it_is_asked_for():
    step = eager_step()
    assert make_step(step, 0).keys() == {"loss", "elbo", "reconstruction", "kl"}
    values = make_step(step, 1, grad_norm=True)
    gradients = torch.cat([parameter.grad.flatten() for parameter in step.model.parameters()])
    torch.testing.assert_close(values["grad_norm"], gradients.norm())


def test_the_norm_is_that_before_the_gradient_is_clipped():
    clipped, free = eager_step(grad_clip=0.5), eager_step()
    values = [make_step(step, 0, grad_norm=True) for step in (clipped, free)]
    assert values[0]["grad_norm"] == values[1]["grad_norm"] > 0.5
    gradients = torch.cat([parameter.grad.flatten() for parameter in clipped.model.parameters()])
    assert gradients.norm().item() == pytest.approx(0.5, rel=1e-4)


def test_labels_reach_the_model():
    step, seen = eager_step("sgd", labelled_vae()), []
    step.model.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[2]))
    assert make_step(step, 0)["loss"].isfinite()
    assert (seen[0].shape, seen[0].dtype) == ((B,), torch.int64)


@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "rmsprop", "adam that is not fused"])
@pytest.mark.parametrize("steps_before", [0, 3])
def test_a_step_whose_loss_is_not_finite_changes_nothing(optimizer, gpu, steps_before):
    step = eager_step(optimizer)
    if gpu:
        as_on_a_gpu(step)
    losses_before = losses(step, range(steps_before))
    before = tensors(step)
    weight = next(step.model.decoder.parameters())
    kept = weight[0, 0].item()
    weight.data[0, 0] = torch.nan
    meter = Meter()
    with pytest.raises(UserError, match=rf"not finite at step {steps_before + 1} \(loss = nan, elbo = nan"):
        meter.add(make_step(step, steps_before), B, steps_before)
        assert gpu
        assert optimizer in ("adam", "adamw", "sgd")
        assert steps_before
        meter.read()
    weight.data[0, 0] = kept
    after = tensors(step)
    assert after.keys() == before.keys()
    for name, value in after.items():
        assert torch.equal(value, before[name]), name
    # and what follows is what would have followed
    whole = eager_step(optimizer)
    assert losses(whole, range(steps_before)) == losses_before
    following = range(steps_before, steps_before + 3)
    assert losses(step, following) == losses(whole, following)


class Reads(TorchDispatchMode):
    """Counts the values that the host reads, for each of which it would wait for a GPU."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.is_nonzero.default)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_a_step_on_a_gpu_waits_for_nothing(optimizer):
    step = as_on_a_gpu(eager_step(optimizer))
    average = MovingAverage(step.model, 0.9)
    meter = Meter()
    waits = []
    for number in range(4):
        with Reads() as reads:
            values = make_step(step, number, grad_norm=number == 2)
            average.update()
            meter.add(values, B, number)
        waits.append(reads.count)
    assert waits[0] > 0  # the moments are made
    assert waits[1:] == [0, 0, 0]

"""Adam's update in plain operations is torch's."""

import pytest
import torch

from helpers.steps import OPTIMIZERS
from vaelab.ops import generator
from vaelab.training.adam import Adam, has_moments, is_adam

ADAMS = ["adam", "adam with weight decay", "adamw", "adam decoupled"]


def fresh_state(size):
    return {"step": torch.tensor(0.0), "exp_avg": torch.zeros(size), "exp_avg_sq": torch.zeros(size)}


@pytest.mark.parametrize("name", ADAMS)
def test_the_written_out_update_is_that_of_torch(name):
    weight = torch.nn.Parameter(torch.linspace(-1, 1, 7))
    own, state = weight.detach().clone(), fresh_state(7)
    optimizer = OPTIMIZERS[name]([weight])
    adam = Adam(optimizer)
    for number in range(1, 30):
        optimizer.param_groups[0]["lr"] = 0.01 / number
        weight.grad = torch.randn(7, generator=generator(0, "gradient", number))
        optimizer.step()
        lr, *corrections = map(torch.tensor, adam.numbers(number))
        adam.update(own, weight.grad, state, lr, tuple(corrections), torch.tensor(True))
        torch.testing.assert_close(own, weight.detach(), rtol=1e-5, atol=1e-7)
    for key, value in optimizer.state[weight].items():
        torch.testing.assert_close(state[key], value, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["adam with weight decay", "adamw"])
def test_an_update_that_is_not_wanted_changes_nothing(name):
    weight, gradient = torch.ones(3), torch.full((3,), torch.nan)
    state = {"step": torch.tensor(4.0), "exp_avg": torch.ones(3), "exp_avg_sq": torch.ones(3)}
    one = torch.tensor(1.0)
    Adam(OPTIMIZERS[name]([torch.nn.Parameter(weight)])).update(
        weight, gradient, state, one, (one, one), torch.tensor(False)
    )
    assert torch.equal(torch.stack([weight, state["exp_avg"], state["exp_avg_sq"]]), torch.ones(3, 3))
    assert state["step"] == 4


def test_only_what_torch_updates_in_that_way_is_adam():
    weight = torch.nn.Parameter(torch.ones(3))
    assert all(is_adam(OPTIMIZERS[name]([weight])) for name in ADAMS)
    others = (torch.optim.Adam([weight], amsgrad=True), torch.optim.AdamW([weight], maximize=True))
    assert not any(
        is_adam(optimizer) for optimizer in (*others, torch.optim.NAdam([weight]), torch.optim.SGD([weight]))
    )


def test_there_are_moments_once_every_parameter_was_updated():
    weights = [torch.nn.Parameter(torch.ones(3)) for _ in range(2)]
    optimizer = OPTIMIZERS["adam"](weights)
    for weight, expected in zip(weights, (False, True), strict=True):
        weight.grad = torch.ones(3)
        optimizer.step()
        assert has_moments(optimizer) == expected

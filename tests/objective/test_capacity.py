"""The KL is held at a capacity that rises."""

import pytest
import torch

from helpers.estimators import IMAGES, X
from helpers.linear_gaussian import linear_gaussian_vae, sigma_points
from vaelab.objective.capacity import Capacity

NOISE = sigma_points(IMAGES)


@pytest.mark.parametrize(("step", "share"), [(0, 0), (1, 0.01), (50, 0.5), (100, 1), (10**6, 1), (None, 1)])
@pytest.mark.parametrize("capacity", [0, 1.0, 40.0])
def test_the_loss_is_the_distance_of_the_mean_kl_from_a_capacity_that_rises_linearly(step, share, capacity):
    objective = Capacity(gamma=7.0, capacity=capacity, capacity_steps=100, samples=1)
    now = None if step is None else torch.tensor(float(step))
    loss, trace, terms = objective(linear_gaussian_vae(mean_shift=0.3), X, NOISE, now)
    kl = trace.terms["kl"].item()
    assert 1 < kl < 40
    assert loss.item() == pytest.approx(7 * abs(kl - share * capacity) - trace.terms["reconstruction"].item(), rel=1e-5)
    assert terms == {}


def test_without_steps_the_capacity_is_there_from_the_first_on():
    objective = Capacity(gamma=7.0, capacity=2.0, capacity_steps=0, samples=1)
    assert objective.target(torch.tensor(0.0)) == 2


@pytest.mark.parametrize(("capacity", "sign"), [(0.1, 1), (40.0, -1)])
def test_a_kl_below_the_capacity_is_pushed_up_and_one_above_it_down(capacity, sign):
    vae, objective = linear_gaussian_vae(), Capacity(5.0, capacity, 0, samples=1)
    loss, trace, _ = objective(vae, X, NOISE)
    expected = 5 * sign * trace.kl.mean() - trace.log_px.mean()
    bias = vae.posterior.heads.bias
    (found,) = torch.autograd.grad(loss, bias, retain_graph=True)
    torch.testing.assert_close(found, torch.autograd.grad(expected, bias)[0])


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"gamma": -1}, "gamma must be a finite number of at least 0, got -1"),
        ({"capacity": "25"}, "capacity must be a finite number of at least 0, got '25'"),
        ({"capacity_steps": 1.5}, "capacity_steps must be an integer of at least 0, got 1.5"),
        ({"samples": 0}, "samples must be an integer of at least 1, got 0"),
    ],
)
def test_a_setting_out_of_range_is_refused_with_a_sentence(setting, sentence):
    with pytest.raises(ValueError, match=sentence):
        Capacity(**{"gamma": 1.0, "capacity": 1.0, "capacity_steps": 0, "samples": 1, **setting})

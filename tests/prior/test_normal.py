"""The standard normal prior."""

import pytest
import torch
from torch.distributions import Normal

from helpers.combinations import normals
from vaelab.prior.normal import NormalPrior


@pytest.mark.parametrize("shape", [(2,), (5, 2), (3, 5, 20)])
def test_log_prob_is_that_of_torch_distributions(shape):
    z = normals(*shape)
    log_prob = NormalPrior().log_prob(z)
    assert log_prob.shape == shape[:-1]
    torch.testing.assert_close(log_prob, Normal(0, 1).log_prob(z).sum(-1))


def test_the_density_integrates_to_one():
    steps = torch.linspace(-8, 8, 401)
    z = torch.cartesian_prod(steps, steps)
    area = (steps[1] - steps[0]) ** 2
    assert NormalPrior().log_prob(z).exp().sum() * area == pytest.approx(1, abs=1e-4)


def test_samples_have_the_density():
    z = NormalPrior().sample(normals(20_000, 3))
    entropy = 3 * Normal(0, 1).entropy().item()
    assert NormalPrior().log_prob(z).mean().item() == pytest.approx(-entropy, abs=0.05)


def test_it_says_that_it_is_standard_normal_and_has_no_parameters():
    assert NormalPrior().is_standard_normal
    assert not list(NormalPrior().parameters())

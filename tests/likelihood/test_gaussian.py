"""The Gaussian likelihood with one sigma."""

import math

import pytest
import torch
from torch.distributions import Normal

from helpers.combinations import levels, normals
from vaelab.likelihood.gaussian import MIN_LOG_SIGMA, GaussianLikelihood
from vaelab.ops import generator, unit_interval
from vaelab.parts import DENSITY

SIGMAS = [0.01, 0.1, 1, 5.0]


@pytest.mark.parametrize("sigma", SIGMAS)
def test_the_density_integrates_to_one(sigma):
    x = torch.linspace(0.4 - 8 * sigma, 0.4 + 8 * sigma, 2001)
    density = GaussianLikelihood(sigma).log_prob(torch.full((1, 2001, 1, 1, 1), 0.4), x.view(-1, 1, 1, 1)).exp()
    assert torch.trapezoid(density[0], x).item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_log_prob_sums_over_pixels_and_is_that_of_torch_distributions(sigma):
    params = normals(5, 3, 2, 4, 6)
    x = unit_interval(levels(3, 2, 4, 6))
    log_prob = GaussianLikelihood(sigma).log_prob(params, x)
    assert log_prob.shape == (5, 3)
    torch.testing.assert_close(log_prob, Normal(params, sigma).log_prob(x).sum((-3, -2, -1)))


def test_samples_have_the_density_and_are_a_function_of_the_generator():
    likelihood = GaussianLikelihood(0.2)
    params = torch.full((50_000, 1, 1, 1), 0.7)
    drawn = likelihood.sample(params, generator(0, "test"))
    assert drawn.mean().item() == pytest.approx(0.7, abs=5 * 0.2 / 50_000**0.5)
    assert drawn.std().item() == pytest.approx(0.2, rel=0.02)
    log_prob = likelihood.log_prob(params[None], drawn).mean().item()
    assert log_prob == pytest.approx(-Normal(0.7, 0.2).entropy().item(), abs=0.02)
    assert torch.equal(drawn, likelihood.sample(params, generator(0, "test")))
    assert not torch.equal(drawn, likelihood.sample(params, generator(1, "test")))


def test_the_mean_is_cut_to_the_unit_interval():
    params = torch.tensor([-3.0, 0.0, 0.3, 1.0, 7.0]).view(1, 1, 1, 5)
    assert GaussianLikelihood(1).mean(params).flatten().tolist() == pytest.approx([0, 0, 0.3, 1, 1])


def test_a_learned_sigma_starts_at_one_and_has_a_gradient():
    likelihood = GaussianLikelihood("learned")
    assert likelihood.log_sigma.item() == pytest.approx(0, abs=0.01)
    likelihood.log_prob(torch.zeros(1, 1, 1, 2, 2), torch.rand(1, 1, 2, 2)).sum().backward()
    assert likelihood.raw_log_sigma.grad != 0


@pytest.mark.parametrize("raw", [-100.0, -10.0, -6.0, 0.0, 3.0])
def test_a_learned_sigma_has_a_lower_bound(raw):
    likelihood = GaussianLikelihood("learned")
    torch.nn.init.constant_(likelihood.raw_log_sigma, raw)
    assert likelihood.log_sigma >= MIN_LOG_SIGMA


def test_the_learned_sigma_finds_the_spread_of_the_pixels():
    likelihood = GaussianLikelihood("learned")
    x = 0.5 + 0.1 * normals(200, 1, 4, 4)
    optimizer = torch.optim.Adam(likelihood.parameters(), lr=0.1)
    for _ in range(150):
        optimizer.zero_grad()
        (-likelihood.log_prob(torch.full((1, 200, 1, 4, 4), 0.5), x).mean()).backward()
        optimizer.step()
    assert likelihood.log_sigma.exp().item() == pytest.approx(0.1, rel=0.05)


def test_a_fixed_sigma_has_no_parameter_but_is_saved():
    assert not list(GaussianLikelihood(0.5).parameters())
    assert GaussianLikelihood(0.5).state_dict()["fixed_log_sigma"].item() == pytest.approx(math.log(0.5))


@pytest.mark.parametrize("sigma", [0, -1, math.nan, math.inf, "0.5", "learnt", None, True])
def test_other_sigmas_are_refused(sigma):
    with pytest.raises(ValueError, match=r"sigma must be a .*number"):
        GaussianLikelihood(sigma)


def test_it_is_a_density_and_scores_no_binary_pixels():
    assert GaussianLikelihood(1).out_channels(3) == 3
    assert GaussianLikelihood(1).pixels == {"levels": DENSITY}

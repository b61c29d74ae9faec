"""The Gaussian likelihood with each kind of sigma."""

import math

import pytest
import torch
from torch.distributions import Normal

from helpers.combinations import levels, normals
from vaelab.likelihood.gaussian import MIN_LOG_SIGMA, GaussianLikelihood
from vaelab.ops import unit_interval
from vaelab.parts import DENSITY


def batch(channels=2, images=3):
    """Means (5, B, C, 4, 6) and images."""
    return normals(5, images, channels, 4, 6), unit_interval(levels(images, 2, 4, 6))


@pytest.mark.parametrize("sigma", [0.01, 0.1, 1, 5.0])
def test_log_prob_is_that_of_torch_distributions(sigma):
    params, x = batch()
    expected = Normal(params, sigma).log_prob(x).sum((-3, -2, -1))
    torch.testing.assert_close(GaussianLikelihood(sigma).log_prob(params, x), expected)


def test_a_sigma_by_pixel_is_the_second_half_of_the_output():
    params, x = batch(channels=4)
    assert GaussianLikelihood("pixel").out_channels(2) == 4
    mean, raw = params[:, :, :2], params[:, :, 2:]
    expected = Normal(mean, raw.exp() + math.exp(MIN_LOG_SIGMA)).log_prob(x).sum((-3, -2, -1))
    torch.testing.assert_close(GaussianLikelihood("pixel").log_prob(params, x), expected)


def test_a_sigma_by_pixel_has_a_soft_lower_bound():
    for raw in (-6.0, -10.0, -1e4):
        params = torch.tensor([0.5, raw]).view(1, 1, 2, 1, 1).requires_grad_()
        log_prob = GaussianLikelihood("pixel").log_prob(params, torch.full((1, 1, 1, 1), 0.5))
        assert log_prob.item() <= -MIN_LOG_SIGMA - 0.5 * math.log(2 * math.pi) + 1e-4
    log_prob = GaussianLikelihood("pixel").log_prob(params, torch.full((1, 1, 1, 1), 0.5))
    assert log_prob.item() == pytest.approx(-MIN_LOG_SIGMA - 0.5 * math.log(2 * math.pi))


def test_the_optimal_sigma_is_where_the_likelihood_of_the_batch_is_highest():
    params, x = batch()
    best = GaussianLikelihood("optimal").log_prob(params, x).mean()
    sigma = (x - params).square().mean().sqrt().item()
    given = [GaussianLikelihood(sigma * factor).log_prob(params, x).mean() for factor in (0.9, 0.99, 1, 1.01, 1.1)]
    torch.testing.assert_close(best, max(given))
    assert given[2] == max(given)


def test_the_gradient_of_the_optimal_sigma_is_that_of_the_log_of_the_squared_error():
    params, x = batch()
    found, expected = params.clone().requires_grad_(), params.clone().requires_grad_()
    likelihood = GaussianLikelihood("optimal")
    likelihood.log_prob(found, x).mean().backward()
    assert not likelihood.squared_error.requires_grad
    (-0.5 * x[0].numel() * (x - expected).square().mean().log()).backward()
    torch.testing.assert_close(found.grad, expected.grad)


def test_an_evaluation_with_the_optimal_sigma_looks_at_no_other_image_and_changes_nothing():
    likelihood = GaussianLikelihood("optimal")
    likelihood.log_prob(*batch())
    likelihood.eval()
    params, x = batch()
    before = {name: value.clone() for name, value in likelihood.state_dict().items()}
    together, alone = likelihood.log_prob(params, x), likelihood.log_prob(params[:, :1], x[:1])
    torch.testing.assert_close(together[:, :1], alone)
    assert likelihood.state_dict() == before
    expected = Normal(params, (x - params).square().mean().sqrt()).log_prob(x).sum((-3, -2, -1))
    torch.testing.assert_close(together, expected, rtol=1e-3, atol=1e-3)


def test_the_optimal_sigma_of_an_evaluation_is_the_mean_of_the_steps_and_forgets():
    likelihood = GaussianLikelihood("optimal")
    assert likelihood.log_sigma.item() == pytest.approx(0)
    means = torch.zeros(1, 2, 1, 2, 2)
    for error in (0.1, 0.3):
        likelihood.log_prob(means, torch.full((2, 1, 2, 2), error))
    assert likelihood.log_sigma.exp().item() == pytest.approx(((0.1**2 + 0.3**2) / 2) ** 0.5, rel=0.01)
    for _ in range(1000):
        likelihood.log_prob(means, torch.full((2, 1, 2, 2), 0.5))
    assert likelihood.log_sigma.exp().item() == pytest.approx(0.5, rel=1e-3)


def test_the_buffers_of_the_optimal_sigma_are_means_over_the_images_as_ranks_need_it():
    params, x = batch(images=4)
    whole, *parts = (GaussianLikelihood("optimal") for _ in range(3))
    whole.log_prob(params, x)
    for part, rows in zip(parts, (slice(1), slice(1, 4)), strict=True):
        part.log_prob(params[:, rows], x[rows])
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(0.25 * parts[0].state_dict()[name] + 0.75 * parts[1].state_dict()[name], value)


def test_the_optimal_sigma_of_a_perfect_batch_is_bounded_and_its_gradient_finite():
    params = torch.full((1, 2, 1, 2, 2), 0.5, requires_grad=True)
    log_prob = GaussianLikelihood("optimal").log_prob(params, torch.full((2, 1, 2, 2), 0.5))
    log_prob.sum().backward()
    assert log_prob[0, 0].item() == pytest.approx(4 * (-MIN_LOG_SIGMA - 0.5 * math.log(2 * math.pi)))
    assert params.grad.isfinite().all()


def test_only_the_optimal_sigma_compares_images_and_is_not_traced():
    for sigma in (0.1, "learned", "pixel", "optimal"):
        likelihood = GaussianLikelihood(sigma)
        assert likelihood.compiles == likelihood.is_mean_over_images == (sigma != "optimal")


def test_it_is_a_density_and_scores_no_binary_pixels():
    assert GaussianLikelihood(1).out_channels(3) == GaussianLikelihood("optimal").out_channels(3) == 3
    assert GaussianLikelihood(1).pixels == {"levels": DENSITY}

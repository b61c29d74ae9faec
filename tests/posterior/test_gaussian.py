"""The diagonal Gaussian posterior."""

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from helpers.combinations import normals
from vaelab.posterior.gaussian import GaussianPosterior
from vaelab.prior.normal import NormalPrior

B, F, D = 4, 6, 3


def draw(samples=5, scale=2.0):
    """A draw whose means and variances are far from 0 and 1, and the same q(z|x) from torch."""
    torch.manual_seed(0)
    posterior = GaussianPosterior(F, D)
    h = scale * normals(B, F, seed=1)
    eps = normals(samples, B, D, seed=2)
    result = posterior(h, eps)
    mean, log_var = posterior.heads(h).chunk(2, dim=-1)
    return result, Normal(mean, torch.exp(0.5 * log_var)), eps


def test_samples_are_the_mean_plus_std_times_eps():
    result, q, eps = draw()
    assert result.z.shape == (5, B, D)
    torch.testing.assert_close(result.z, q.loc + q.scale * eps)


def test_log_qz_is_the_density_of_the_samples():
    result, q, _ = draw()
    torch.testing.assert_close(result.log_qz, q.log_prob(result.z).sum(-1))


def test_the_closed_kl_is_that_of_torch_distributions():
    result, q, _ = draw()
    torch.testing.assert_close(result.kl_to_standard_normal, kl_divergence(q, Normal(0, 1)).expand(B, D))


def test_the_closed_kl_is_the_monte_carlo_mean_of_log_qz_minus_log_pz():
    result, _, _ = draw(samples=100_000)
    difference = result.log_qz - NormalPrior().log_prob(result.z)  # (K, B)
    error = 5 * difference.std(0) / len(difference) ** 0.5
    assert ((difference.mean(0) - result.kl_to_standard_normal.sum(-1)).abs() < error).all()


def test_the_kl_is_zero_only_for_a_standard_normal():
    posterior = GaussianPosterior(F, D)
    torch.nn.init.zeros_(posterior.heads.weight)
    torch.nn.init.zeros_(posterior.heads.bias)
    standard = posterior(torch.randn(B, F), torch.randn(1, B, D))
    assert (standard.kl_to_standard_normal == 0).all()
    assert (draw()[0].kl_to_standard_normal > 0).all()


def test_gradients_reach_the_features_and_both_heads_through_the_samples():
    torch.manual_seed(0)
    posterior = GaussianPosterior(F, D)
    h = torch.randn(B, F, requires_grad=True)
    posterior(h, torch.randn(2, B, D)).z.square().sum().backward()
    assert (h.grad != 0).any(dim=1).all()
    assert (posterior.heads.weight.grad != 0).any(dim=1).all()


@pytest.mark.parametrize("samples", [1, 7])
def test_each_image_has_its_own_draw(samples):
    posterior = GaussianPosterior(F, D)
    h, eps = torch.randn(B, F), torch.randn(samples, B, D)
    torch.testing.assert_close(posterior(h, eps).z[:, 1:2], posterior(h[1:2], eps[:, 1:2]).z)

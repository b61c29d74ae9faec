"""The normal posterior of full covariance."""

import pytest
import torch
from torch import nn

from helpers.combinations import normals
from helpers.linear_gaussian import (
    IMAGE_SHAPE,
    LATENT_DIM,
    PIXELS,
    SIGMA,
    linear_gaussian_vae,
    log_marginal,
    sigma_points,
)
from vaelab.distributions import MultivariateNormal, StandardNormal
from vaelab.ops import unit_interval
from vaelab.posterior.full_gaussian import FullGaussianPosterior

B, F, D = 4, 6, 3


@pytest.fixture
def posterior():
    torch.manual_seed(0)
    return FullGaussianPosterior(F, D)


def test_it_is_the_normal_density_of_a_lower_triangle_with_a_positive_diagonal(posterior):
    h = normals(B, F)
    q = posterior(h)
    mean, log_diagonal, below = posterior.heads(h).split([D, D, 3], dim=-1)
    assert isinstance(q, MultivariateNormal)
    torch.testing.assert_close(q.mean, mean)
    torch.testing.assert_close(q.cholesky.diagonal(dim1=-2, dim2=-1), log_diagonal.exp())
    torch.testing.assert_close(q.cholesky[:, [1, 2, 2], [0, 0, 1]], below)
    assert (q.cholesky.triu(1) == 0).all()
    assert not hasattr(q, "factors")


def test_gradients_reach_the_features_and_all_heads_through_samples_and_kl(posterior):
    for value in (lambda q: q.draw(normals(2, B, D, seed=1))[0].pow(2), lambda q: q.kl(StandardNormal())):
        posterior.zero_grad()
        h = normals(B, F).requires_grad_()
        value(posterior(h)).sum().backward()
        assert (h.grad != 0).any(dim=1).all()
        assert (posterior.heads.weight.grad != 0).any(dim=1).all()


@pytest.mark.parametrize("samples", [1, 7])
def test_each_image_has_its_own_density(samples, posterior):
    h, eps = normals(B, F), normals(samples, B, D, seed=1)
    torch.testing.assert_close(posterior(h).draw(eps)[0][:, 1:2], posterior(h[1:2]).draw(eps[:, 1:2])[0])


def test_one_dimension_has_nothing_below_the_diagonal():
    q = FullGaussianPosterior(F, 1)(normals(B, F))
    assert q.cholesky.shape == (B, 1, 1)


@torch.no_grad()
def correlated_vae():
    """A linear Gaussian VAE whose exact posterior N(V W^T (x - b) / sigma^2, V) correlates its dimensions."""
    vae = linear_gaussian_vae()
    weight = torch.tensor([[0.5, 0.4], [-0.2, 0.3], [0.1, 0.6], [0.7, 0.5], [0.0, -0.3], [0.4, 0.1]])
    bias = vae.decoder[0].bias
    vae.decoder[0].weight.copy_(weight)
    covariance = torch.linalg.inv(torch.eye(LATENT_DIM) + weight.T @ weight / SIGMA**2)
    to_mean = covariance @ weight.T / SIGMA**2
    cholesky = torch.linalg.cholesky(covariance)
    vae.posterior = FullGaussianPosterior(PIXELS, LATENT_DIM)
    heads: nn.Linear = vae.posterior.heads
    heads.weight.zero_()
    heads.weight[:LATENT_DIM] = to_mean
    heads.bias.copy_(torch.cat([-to_mean @ bias, cholesky.diagonal().log(), cholesky[1:, 0]]))
    return vae, covariance


def test_with_the_exact_correlated_posterior_the_elbo_is_log_p():
    vae, covariance = correlated_vae()
    assert abs(covariance[0, 1]) > 0.5 * (covariance[0, 0] * covariance[1, 1]).sqrt()
    x = unit_interval(torch.randint(0, 256, (3, *IMAGE_SHAPE), generator=torch.Generator().manual_seed(0)))
    trace = vae(x, sigma_points(3))
    torch.testing.assert_close(trace.log_px.mean(0) - trace.kl, log_marginal(vae, x), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(trace.log_w, log_marginal(vae, x).expand_as(trace.log_w), rtol=1e-5, atol=1e-4)

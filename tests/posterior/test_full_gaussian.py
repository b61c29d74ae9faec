"""The normal posterior of full covariance."""

import pytest
import torch

from helpers.combinations import normals
from vaelab.distributions import MultivariateNormal, StandardNormal
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

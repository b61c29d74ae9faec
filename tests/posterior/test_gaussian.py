"""The diagonal Gaussian posterior."""

import pytest
import torch

from helpers.combinations import normals
from vaelab.distributions import Normal
from vaelab.posterior.gaussian import GaussianPosterior

B, F, D = 4, 6, 3


@pytest.fixture
def posterior():
    torch.manual_seed(0)
    return GaussianPosterior(F, D)


def test_it_is_the_normal_density_whose_mean_and_log_variance_are_linear_in_the_features(posterior):
    h = normals(B, F)
    q = posterior(h)
    weight, bias = posterior.heads.weight, posterior.heads.bias
    assert isinstance(q, Normal)
    torch.testing.assert_close(q.mean, h @ weight[:D].T + bias[:D])
    torch.testing.assert_close(q.log_var, h @ weight[D:].T + bias[D:])


def test_gradients_reach_the_features_and_both_heads_through_the_samples(posterior):
    h = normals(B, F).requires_grad_()
    z, _ = posterior(h).draw(normals(2, B, D, seed=1))
    z.square().sum().backward()
    assert (h.grad != 0).any(dim=1).all()
    assert (posterior.heads.weight.grad != 0).any(dim=1).all()


@pytest.mark.parametrize("samples", [1, 7])
def test_each_image_has_its_own_density(samples, posterior):
    h, eps = normals(B, F), normals(samples, B, D, seed=1)
    torch.testing.assert_close(posterior(h).draw(eps)[0][:, 1:2], posterior(h[1:2]).draw(eps[:, 1:2])[0])

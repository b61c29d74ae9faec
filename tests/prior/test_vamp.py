"""The VampPrior."""

import pytest
import torch

from helpers.combinations import normals, vae_of
from vaelab.errors import UserError
from vaelab.ops import log_mean_exp
from vaelab.posterior.flow import FlowPosterior
from vaelab.posterior.full_gaussian import FullGaussianPosterior
from vaelab.prior.vamp import VampPrior

IMAGE_SHAPE, C, F, D = (1, 2, 3), 7, 6, 3


@pytest.fixture
def prior():
    torch.manual_seed(0)
    return VampPrior(IMAGE_SHAPE, C)


def test_its_pseudo_inputs_are_images_in_the_unit_interval_that_differ(prior):
    seen = []

    def infer(x):
        seen.append(x)
        return FullGaussianPosterior(F, D)(x.flatten(1))

    with torch.no_grad():
        prior.pseudo_inputs *= 3
    prior(infer)
    assert seen[0].shape == (C, *IMAGE_SHAPE)
    assert seen[0].min() >= 0
    assert seen[0].max() <= 1
    assert len(seen[0].flatten(1).unique(dim=0)) == C


def test_it_is_the_mean_of_the_posteriors_of_its_pseudo_inputs():
    vae = vae_of()
    vae.prior = VampPrior((1, 8, 8), C)
    z = normals(4, 5, vae.latent_dim)
    each = [vae.infer(x).log_prob(z) for x in vae.prior.pseudo_inputs.sigmoid().split(1)]
    torch.testing.assert_close(vae.prior_of().log_prob(z), log_mean_exp(torch.stack(each), 0), rtol=1e-5, atol=1e-5)


def test_it_changes_with_the_encoder_of_the_model():
    vae = vae_of()
    vae.prior = VampPrior((1, 8, 8), C)
    z = normals(4, vae.latent_dim)
    before = vae.prior_of().log_prob(z)
    with torch.no_grad():
        vae.posterior.heads.bias += 1
    assert not torch.isclose(vae.prior_of().log_prob(z), before).any()
    assert not list(vae.prior.children())


def test_the_posterior_may_have_any_covariance(prior):
    torch.manual_seed(0)
    posterior = FullGaussianPosterior(F, D)
    p = prior(lambda x: posterior(x.flatten(1)))
    z = normals(4, 5, D)
    each = [posterior(x.flatten(1)).log_prob(z.flatten(0, 1)) for x in prior.pseudo_inputs.sigmoid().split(1)]
    torch.testing.assert_close(p.log_prob(z).flatten(), log_mean_exp(torch.stack(each), 0))


def test_a_posterior_that_is_no_density_of_its_tensors_is_refused(prior):
    posterior = FlowPosterior(F, D, kind="iaf", transforms=1, hidden=[4], context=2)
    with pytest.raises(UserError, match=r"needs a posterior whose density, .* Flow is none"):
        prior(lambda x: posterior(x.flatten(1)))


def test_no_component_is_refused():
    with pytest.raises(ValueError, match="components must be an integer of at least 1, got 0"):
        VampPrior(IMAGE_SHAPE, 0)

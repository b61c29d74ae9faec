"""The von Mises-Fisher posterior."""

import pytest
import torch

from helpers.combinations import normals
from vaelab.distributions import UniformSphere, VonMisesFisher
from vaelab.errors import UserError
from vaelab.objective.elbo import ELBO
from vaelab.posterior.von_mises_fisher import VonMisesFisherPosterior
from vaelab.run.build import Builder

B, F, D = 4, 6, 3


@pytest.fixture
def posterior():
    torch.manual_seed(0)
    return VonMisesFisherPosterior(F, D)


def test_its_direction_is_linear_in_the_features_and_its_concentration_above_one(posterior):
    h = normals(B, F)
    q = posterior(h)
    heads = posterior.heads(h)
    assert isinstance(q, VonMisesFisher)
    torch.testing.assert_close(q.mean, heads[:, :D] / heads[:, :D].norm(dim=-1, keepdim=True))
    torch.testing.assert_close(q.concentration, 1 + heads[:, D:].exp().log1p())


def test_gradients_reach_the_features_and_both_heads_through_samples_and_kl(posterior):
    h = normals(B, F).requires_grad_()
    q = posterior(h)
    z, _ = q.draw(normals(2, B, D, seed=1))
    (z.pow(3).sum() + q.kl(UniformSphere()).sum()).backward()
    assert (h.grad != 0).any(dim=1).all()
    assert (posterior.heads.weight.grad != 0).any(dim=1).all()


@pytest.mark.parametrize("samples", [1, 7])
def test_each_image_has_its_own_density(samples, posterior):
    h, eps = normals(B, F), normals(samples, B, D, seed=1)
    torch.testing.assert_close(posterior(h).draw(eps)[0][:, 1:2], posterior(h[1:2]).draw(eps[:, 1:2])[0])


def test_one_dimension_is_refused():
    with pytest.raises(UserError, match=r"needs latent\.dim of at least 2, got 1"):
        VonMisesFisherPosterior(F, 1)


def test_with_a_prior_over_other_latents_it_is_refused(compose):
    config = compose("dataset=digits", "logger=local", "posterior=von_mises_fisher", "latent.dim=3")
    with pytest.raises(UserError, match=r"over the same latents.*; choose prior=uniform_sphere and posterior"):
        Builder(config, None).setup()


@pytest.mark.slow
def test_its_elbo_learns_on_the_sphere(compose):
    """More is gained than by a posterior that is the prior, whose ELBO has no KL."""
    config = compose(
        *("dataset=digits", "likelihood=bernoulli", "likelihood.centred=false", "dataset.binarize=dynamic"),
        *("logger=local", "posterior=von_mises_fisher", "prior=uniform_sphere", "latent.dim=4"),
    )
    setup = Builder(config, None).setup()
    x = (setup.dataset.train.images[:64] / 255.0).round()
    losses, kl = [], []
    for step in range(80):
        noise = setup.model.noise(1, len(x), torch.Generator().manual_seed(step))
        loss, trace, _ = ELBO(1.0, 0, 1)(setup.model, x, noise)
        setup.optimizer.zero_grad()
        loss.backward()
        setup.optimizer.step()
        losses.append(loss.item())
        kl.append(trace.kl.mean().item())
    assert losses[-1] < losses[0] - 10
    assert kl[-1] > kl[0] + 0.5
    assert torch.linalg.vector_norm(setup.model.embed(x), dim=-1).sub(1).abs().max() < 1e-5

"""Encoder against discriminator: who gets which gradient, and that latents become draws from the prior."""

import pytest
import torch
import torch.nn.functional as F

from helpers.combinations import normals
from helpers.estimators import X, ladder_and_noise, noise_of
from helpers.linear_gaussian import LATENT_DIM, linear_gaussian_vae
from vaelab.distributions import StandardNormal
from vaelab.errors import UserError
from vaelab.objective.adversarial import Adversarial
from vaelab.parts import Latent, Trace
from vaelab.posterior.delta import DeltaPosterior, Point
from vaelab.prior.mixture import MixturePrior


def adversarial(weight=3.0, lr=1e-3):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Adversarial(LATENT_DIM, weight, [32], lr, [0.5, 0.9])


@pytest.mark.parametrize("deterministic", [False, True])
def test_the_model_is_trained_against_the_discriminator_and_that_by_its_own_alone(deterministic):
    vae, objective = linear_gaussian_vae(mean_shift=0.3), adversarial()
    if deterministic:
        vae.posterior = DeltaPosterior(6, LATENT_DIM)
    noise = noise_of(objective, vae)
    trace = vae(X, noise[:1])
    z = trace.latents[0].z[0]
    fooled = F.binary_cross_entropy_with_logits(objective.discriminator(z), torch.ones(len(z)))
    expected = 3 * fooled - trace.log_px.mean()
    of_model = torch.autograd.grad(expected, list(vae.parameters()), retain_graph=True)
    logits = torch.cat([objective.discriminator(noise[1]), objective.discriminator(z.detach())])
    is_prior = torch.tensor([1.0] * len(z) + [0.0] * len(z))
    own = F.binary_cross_entropy_with_logits(logits, is_prior)
    of_discriminator = torch.autograd.grad(own, list(objective.parameters()))

    loss, _, terms = objective(vae, X, noise)
    loss.backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(terms["generator_loss"], fooled)
    torch.testing.assert_close(terms["discriminator_loss"], own)
    torch.testing.assert_close([p.grad for p in vae.parameters()], list(of_model), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close([p.grad for p in objective.parameters()], list(of_discriminator))


class Shifted(torch.nn.Module):
    """A model whose latents are N(mean, exp(2 log_scale)), whatever the images."""

    def __init__(self):
        super().__init__()
        self.mean = torch.nn.Parameter(torch.tensor([2.0, -1.0]))
        self.log_scale = torch.nn.Parameter(torch.tensor([-1.0, 0.5]))

    def forward(self, x, noise, y=None):
        z = self.mean + self.log_scale.exp() * noise
        return Trace(torch.zeros(z.shape[:2]), (Latent(z, None, Point(z[0]), StandardNormal()),))


def test_latents_become_draws_from_the_prior():
    model, objective = Shifted(), adversarial(weight=1.0, lr=5e-3)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, betas=(0.5, 0.9))
    for step in range(500):
        loss, _, terms = objective(model, torch.zeros(256, 1, 1, 1), normals(2, 256, 2, seed=step))
        for each in (optimizer, objective.optimizer):
            each.zero_grad()
        loss.backward()
        for each in (optimizer, objective.optimizer):
            each.step()
    torch.testing.assert_close(model.mean.detach(), torch.zeros(2), rtol=0, atol=0.3)
    torch.testing.assert_close(model.log_scale.detach(), torch.zeros(2), rtol=0, atol=0.3)
    assert terms["discriminator_accuracy"].item() == pytest.approx(0.5, abs=0.1)


def test_a_prior_that_would_not_be_trained_is_refused_with_a_sentence():
    vae, objective = linear_gaussian_vae(), adversarial()
    vae.prior = MixturePrior(LATENT_DIM, components=4)
    with pytest.raises(UserError, match="needs a prior without parameters, for it does not train them, got MixturePri"):
        objective(vae, X, noise_of(objective, vae))


def test_a_ladder_is_refused_with_a_sentence():
    ladder, noise = ladder_and_noise(samples=2)
    with pytest.raises(UserError, match="the adversarial autoencoder needs a model with one group of latents, got a"):
        adversarial()(ladder, torch.ones(4, 1, 8, 8), noise)


def test_a_weight_out_of_range_is_refused_with_a_sentence():
    with pytest.raises(ValueError, match="weight must be a finite number of at least 0, got -1"):
        adversarial(weight=-1)

"""The total correlation of a discriminator, against that of a normal, and who gets which gradient."""

import math

import pytest
import torch

from helpers.combinations import normals
from helpers.estimators import X, ladder_and_noise, noise_of
from helpers.linear_gaussian import LATENT_DIM, linear_gaussian_vae
from vaelab.distributions import Normal, StandardNormal
from vaelab.errors import UserError
from vaelab.objective.factor import Factor
from vaelab.parts import Latent, Trace


def factor(gamma=10.0, lr=1e-4, hidden=(32, 32)):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Factor(LATENT_DIM, gamma, list(hidden), lr, [0.5, 0.9])


def parts(objective, vae, noise):
    """The trace, what the discriminator says of its z, and its own cross-entropy by torch, each made anew."""
    trace = vae(X, noise[:1])
    z = trace.latents[0].z[0]
    keys = noise[1]
    permuted = torch.stack([z[keys[:, d].argsort(), d] for d in range(LATENT_DIM)], dim=-1)
    logits = torch.cat([objective.discriminator(z.detach()), objective.discriminator(permuted.detach())])
    is_joint = torch.tensor([1.0] * len(z) + [0.0] * len(z))
    own = torch.nn.functional.binary_cross_entropy_with_logits(logits, is_joint)
    return trace, objective.discriminator(z).mean(), own


def test_the_loss_and_its_terms():
    vae, objective = linear_gaussian_vae(mean_shift=0.3), factor(gamma=7.0)
    noise = noise_of(objective, vae)
    trace, correlation, own = parts(objective, vae, noise)
    loss, _, terms = objective(vae, X, noise)
    torch.testing.assert_close(loss, 7 * correlation - trace.terms["elbo"])
    torch.testing.assert_close(terms["estimated_correlation"], correlation)
    torch.testing.assert_close(terms["discriminator_loss"], own)
    assert terms.keys() == {"estimated_correlation", "discriminator_loss", "discriminator_accuracy"}


def test_the_model_is_trained_by_the_loss_and_the_discriminator_by_its_own_alone():
    vae, objective = linear_gaussian_vae(mean_shift=0.3), factor(gamma=7.0)
    noise = noise_of(objective, vae)
    trace, correlation, own = parts(objective, vae, noise)
    of_model = torch.autograd.grad(7 * correlation - trace.terms["elbo"], list(vae.parameters()))
    of_discriminator = torch.autograd.grad(own, list(objective.parameters()))
    objective(vae, X, noise)[0].backward()
    torch.testing.assert_close([p.grad for p in vae.parameters()], list(of_model), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close([p.grad for p in objective.parameters()], list(of_discriminator))
    assert all(gradient.abs().sum() > 0 for gradient in of_discriminator)


class Correlated(torch.nn.Module):
    """A model whose latents are a normal with correlation rho."""

    rho = 0.9

    def forward(self, x, noise, y=None):
        z = noise @ torch.tensor([[1.0, self.rho], [0.0, math.sqrt(1 - self.rho**2)]])
        latent = Latent(z, torch.zeros(z.shape[:2]), Normal(*torch.zeros(2, z.shape[1], 2)), StandardNormal())
        return Trace(torch.zeros(z.shape[:2]), (latent,))


def test_a_trained_discriminator_knows_the_total_correlation_of_a_normal():
    objective, x = factor(lr=3e-3), torch.zeros(1000, 1, 1, 1)
    found = []
    for step in range(400):
        loss, _, terms = objective(Correlated(), x, normals(2, len(x), 2, seed=step))
        objective.optimizer.zero_grad()
        loss.backward()
        objective.optimizer.step()
        found.append(terms["estimated_correlation"].item())
    exact = -0.5 * math.log(1 - Correlated.rho**2)  # 0.83 nats
    assert sum(found[-50:]) / 50 == pytest.approx(exact, abs=0.1)
    assert abs(found[0]) < 0.2


def test_a_ladder_is_refused_with_a_sentence():
    ladder, noise = ladder_and_noise(samples=2)
    with pytest.raises(UserError, match="FactorVAE needs a model with one group of latents, got a ladder of 2"):
        factor()(ladder, torch.ones(4, 1, 8, 8), noise)


def test_a_weight_out_of_range_is_refused_with_a_sentence():
    with pytest.raises(ValueError, match="gamma must be a finite number of at least 0, got -1"):
        factor(gamma=-1)

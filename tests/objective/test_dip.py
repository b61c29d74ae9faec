"""The covariance of the latents and its distance from the identity, in closed form."""

import math

import pytest
import torch

from helpers.combinations import normals
from helpers.estimators import X, ladder_and_noise, noise_of
from helpers.linear_gaussian import LATENT_DIM, linear_gaussian_vae
from vaelab.distributions import Normal, StandardNormal
from vaelab.errors import UserError
from vaelab.objective.dip import DIP, VARIANTS
from vaelab.parts import Latent
from vaelab.posterior.delta import DeltaPosterior


def latent_of(mean, variance):
    q = Normal(mean, torch.full_like(mean, variance).log() if isinstance(variance, float) else variance.log())
    return Latent(mean, None, q, StandardNormal())


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_loss_is_that_of_the_covariance_by_torch(variant):
    vae, objective = linear_gaussian_vae(mean_shift=0.3), DIP(variant, lambda_od=3.0, lambda_d=5.0)
    loss, trace, terms = objective(vae, X, noise_of(objective, vae))
    q = trace.latents[0].q
    covariance = torch.cov(q.mean.T, correction=0)
    if variant == "ii":
        covariance = covariance + q.log_var.exp().mean(0).diag()
    off_diagonal = covariance[0, 1].square() + covariance[1, 0].square()
    diagonal = (covariance[0, 0] - 1).square() + (covariance[1, 1] - 1).square()
    torch.testing.assert_close(terms, {"off_diagonal": off_diagonal, "diagonal": diagonal})
    torch.testing.assert_close(loss, 3 * off_diagonal + 5 * diagonal - trace.terms["elbo"])
    assert off_diagonal > 1e-5


@pytest.mark.parametrize(("variant", "scale", "variance"), [("i", 1.0, 0.7), ("ii", 0.6, 0.64)])
def test_it_vanishes_where_the_covariance_is_the_identity(variant, scale, variance):
    corners = scale * torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    covariance = DIP(variant, 1.0, 1.0).covariance(latent_of(5 + corners, variance))
    torch.testing.assert_close(covariance, torch.eye(2))
    other = DIP({"i": "ii", "ii": "i"}[variant], 1.0, 1.0).covariance(latent_of(5 + corners, variance))
    assert not torch.allclose(other, torch.eye(2), atol=0.1)


def test_variant_ii_is_the_covariance_of_samples():
    mean, variance = normals(6, 3), normals(6, 3, seed=1).exp()
    latent = latent_of(mean, variance)
    z, _ = latent.q.draw(normals(50_000, 6, 3, seed=2))
    torch.testing.assert_close(
        DIP("ii", 1.0, 1.0).covariance(latent), torch.cov(z.flatten(0, 1).T), rtol=0.03, atol=0.03
    )


def test_one_image_has_no_covariance_of_means():
    assert DIP("i", 1.0, 1.0).covariance(latent_of(torch.ones(1, 2), 1.0)).abs().max() == 0


def test_another_posterior_and_a_ladder_are_refused_with_a_sentence():
    objective = DIP("i", 1.0, 1.0)
    vae = linear_gaussian_vae()
    vae.posterior = DeltaPosterior(6, LATENT_DIM)
    with pytest.raises(UserError, match="mean and variance of a diagonal normal posterior, got Point"):
        objective(vae, X, noise_of(objective, vae))
    ladder, noise = ladder_and_noise()
    with pytest.raises(UserError, match="DIP-VAE needs a model with one group of latents, got 2 groups"):
        objective(ladder, torch.ones(4, 1, 8, 8), noise)


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"variant": "iii"}, "variant must be one of i, ii, got 'iii'"),
        ({"lambda_od": -1}, "lambda_od must be a finite number of at least 0, got -1"),
        ({"lambda_d": math.inf}, "lambda_d must be a finite number of at least 0, got inf"),
    ],
)
def test_a_setting_out_of_range_is_refused_with_a_sentence(setting, sentence):
    with pytest.raises(ValueError, match=sentence):
        DIP(**{"variant": "i", "lambda_od": 1.0, "lambda_d": 1.0, **setting})

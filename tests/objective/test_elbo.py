"""The ELBO against the closed form of a linear Gaussian VAE, and the weight on its KL term."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from helpers.combinations import levels, normals
from helpers.linear_gaussian import IMAGE_SHAPE, LATENT_DIM, linear_gaussian_vae, log_marginal, sigma_points
from vaelab.objective.elbo import ELBO
from vaelab.ops import unit_interval

X = unit_interval(levels(5, *IMAGE_SHAPE))


def exact_trace(vae):
    """A trace whose means over samples are exact, for all in it is quadratic in the noise."""
    return vae(X, sigma_points(len(X)))


def elbo(beta=1.0, warmup_steps=0):
    return ELBO(beta, warmup_steps, samples=1)


def test_with_the_exact_posterior_the_elbo_is_the_log_marginal():
    vae = linear_gaussian_vae()
    _, terms = elbo()(exact_trace(vae))
    torch.testing.assert_close(terms["elbo"], log_marginal(vae, X).mean(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("mean_shift", "variance_factor"), [(0.5, 1.0), (0.0, 2.0), (0.0, 0.3), (-0.2, 1.5)])
def test_with_another_posterior_the_elbo_is_smaller_by_its_kl_to_the_exact_one(mean_shift, variance_factor):
    vae = linear_gaussian_vae(mean_shift, variance_factor)
    trace = exact_trace(vae)
    std = (0.5 * trace.draw.log_var).exp()
    q_z = Normal(trace.draw.mean, std)
    exact = Normal(trace.draw.mean - mean_shift, std / math.sqrt(variance_factor))
    gap = kl_divergence(q_z, exact).sum(-1).mean()
    _, terms = elbo()(trace)
    assert gap > 0.1
    torch.testing.assert_close(terms["elbo"], log_marginal(vae, X).mean() - gap, rtol=1e-4, atol=1e-3)


def test_random_noise_gives_the_same_elbo_in_the_mean():
    vae = linear_gaussian_vae(mean_shift=0.5)
    _, exact = elbo()(exact_trace(vae))
    _, terms = elbo()(vae(X, normals(20_000, len(X), LATENT_DIM)))
    torch.testing.assert_close(terms["elbo"], exact["elbo"], rtol=0, atol=0.05)


def test_terms_are_means_over_samples_and_images():
    trace = linear_gaussian_vae()(X, normals(3, len(X), LATENT_DIM))
    _, terms = elbo()(trace)
    assert terms.keys() == {"elbo", "reconstruction", "kl"}
    torch.testing.assert_close(terms["reconstruction"], trace.log_px.sum() / 15)
    torch.testing.assert_close(terms["kl"], trace.kl.sum() / 5)


@pytest.mark.parametrize("step", [None, torch.tensor(0.0), torch.tensor(9.0)])
def test_with_beta_1_and_no_warm_up_the_loss_is_minus_the_elbo(step):
    loss, terms = elbo()(exact_trace(linear_gaussian_vae()), step)
    torch.testing.assert_close(loss, -terms["elbo"])


@pytest.mark.parametrize("beta", [0, 0.5, 1, 4.0])
@pytest.mark.parametrize(
    ("step", "share"), [(0, 0), (1, 0.01), (25, 0.25), (50, 0.5), (100, 1), (101, 1), (10**6, 1), (None, 1)]
)
def test_the_weight_rises_linearly_to_beta_and_none_is_after_the_warm_up(beta, step, share):
    trace = exact_trace(linear_gaussian_vae())
    loss, terms = elbo(beta, warmup_steps=100)(trace, None if step is None else torch.tensor(float(step)))
    torch.testing.assert_close(loss, beta * share * terms["kl"] - terms["reconstruction"])
    assert terms["kl"] > 0.1


@pytest.mark.parametrize("setting", [{"beta": 7.0}, {"beta": 0}, {"warmup_steps": 100}])
def test_the_elbo_is_never_weighted(setting):
    trace, step = exact_trace(linear_gaussian_vae()), torch.tensor(3.0)
    loss, terms = elbo(**setting)(trace, step)
    assert terms == elbo()(trace, step)[1]
    assert loss != -terms["elbo"]


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"beta": -0.1}, "beta must be a finite number of at least 0, got -0.1"),
        ({"beta": math.nan}, "beta must be a finite number of at least 0, got nan"),
        ({"beta": math.inf}, "beta must be a finite number of at least 0, got inf"),
        ({"beta": "1"}, "beta must be a finite number of at least 0, got '1'"),
        ({"warmup_steps": -1}, "warmup_steps must be an integer of at least 0, got -1"),
        ({"warmup_steps": 0.5}, "warmup_steps must be an integer of at least 0, got 0.5"),
        ({"samples": 0}, "samples must be an integer of at least 1, got 0"),
    ],
)
def test_a_setting_out_of_range_is_refused_with_a_sentence(setting, sentence):
    with pytest.raises(ValueError, match=sentence):
        ELBO(**{"beta": 1.0, "warmup_steps": 0, "samples": 1, **setting})

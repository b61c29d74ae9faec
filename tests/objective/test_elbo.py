"""The ELBO against the closed form of a linear Gaussian VAE, and the weight on its KL term."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from helpers.combinations import levels, normals
from helpers.estimators import ladder_and_noise
from helpers.linear_gaussian import IMAGE_SHAPE, LATENT_DIM, linear_gaussian_vae, log_marginal, sigma_points
from vaelab.distributions import Normal
from vaelab.objective.elbo import ELBO
from vaelab.ops import unit_interval

X = unit_interval(levels(5, *IMAGE_SHAPE))
EXACT = sigma_points(len(X))  # means over such noise are exact, for all is quadratic in it


def elbo(beta=1.0, warmup_steps=0, cycles=1, free_bits=0.0):
    return ELBO(beta, warmup_steps, samples=1, cycles=cycles, free_bits=free_bits)


def terms_of(vae, noise=EXACT):
    """The terms of a pass."""
    _, trace, terms = elbo()(vae, X, noise)
    assert terms == {}  # the trace has them all
    return trace.terms


def test_with_the_exact_posterior_the_elbo_is_the_log_marginal():
    vae = linear_gaussian_vae()
    torch.testing.assert_close(terms_of(vae)["elbo"], log_marginal(vae, X).mean(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("mean_shift", "variance_factor"), [(0.5, 1.0), (0.0, 2.0), (0.0, 0.3), (-0.2, 1.5)])
def test_with_another_posterior_the_elbo_is_smaller_by_its_kl_to_the_exact_one(mean_shift, variance_factor):
    vae = linear_gaussian_vae(mean_shift, variance_factor)
    q = vae.infer(X)
    exact = Normal(q.mean - mean_shift, q.log_var - math.log(variance_factor))
    gap = q.kl(exact).sum(-1).mean()
    assert gap > 0.1
    torch.testing.assert_close(terms_of(vae)["elbo"], log_marginal(vae, X).mean() - gap, rtol=1e-4, atol=1e-3)


def test_random_noise_gives_the_same_elbo_in_the_mean():
    vae = linear_gaussian_vae(mean_shift=0.5)
    found = terms_of(vae, normals(20_000, len(X), LATENT_DIM))["elbo"]
    torch.testing.assert_close(found, terms_of(vae)["elbo"], rtol=0, atol=0.05)


@pytest.mark.parametrize("step", [None, torch.tensor(0.0), torch.tensor(9.0)])
def test_with_beta_1_and_no_warm_up_the_loss_is_minus_the_elbo(step):
    loss, trace, _ = elbo()(linear_gaussian_vae(), X, EXACT, step)
    torch.testing.assert_close(loss, -trace.terms["elbo"])


@pytest.mark.parametrize("beta", [0, 0.5, 1, 4.0])
@pytest.mark.parametrize(
    ("step", "share"), [(0, 0), (1, 0.01), (25, 0.25), (50, 0.5), (100, 1), (101, 1), (10**6, 1), (None, 1)]
)
def test_the_weight_rises_linearly_to_beta_and_none_is_after_the_warm_up(beta, step, share):
    now = None if step is None else torch.tensor(float(step))
    loss, trace, _ = elbo(beta, warmup_steps=100)(linear_gaussian_vae(), X, EXACT, now)
    torch.testing.assert_close(loss, beta * share * trace.terms["kl"] - trace.terms["reconstruction"])
    assert trace.terms["kl"] > 0.1


@pytest.mark.parametrize(
    ("step", "share"),
    [(0, 0), (5, 0.5), (10, 1), (19, 1), (20, 0), (27, 0.7), (39, 1), (40, 0), (45, 0.5), (50, 1), (60, 1), (10**6, 1)],
)
def test_in_cycles_the_weight_rises_again_after_as_many_steps_at_beta_and_stays_after_the_last(step, share):
    found = elbo(beta=2.0, warmup_steps=10, cycles=3).weight(torch.tensor(float(step)))
    torch.testing.assert_close(found, torch.tensor(2.0 * share))
    assert elbo(beta=2.0, warmup_steps=10, cycles=3).weight(None) == 2


@pytest.mark.parametrize("free_bits", [0.01, 0.3, 0.6, 100.0])
@pytest.mark.parametrize("beta", [1.0, 3.0])
def test_free_bits_bound_the_mean_kl_of_each_dimension_from_below(free_bits, beta):
    vae = linear_gaussian_vae(mean_shift=0.3)
    loss, trace, terms = elbo(beta, free_bits=free_bits)(vae, X, EXACT)
    by_dimension = trace.latents[0].kl.mean(0).tolist()
    assert 0.3 < min(by_dimension) < 0.6 < max(by_dimension)
    expected = beta * sum(max(kl, free_bits) for kl in by_dimension) - trace.terms["reconstruction"]
    torch.testing.assert_close(loss, expected)
    assert terms == {}
    assert trace.terms == terms_of(vae)


def test_a_kl_within_the_free_bits_has_no_gradient():
    vae = linear_gaussian_vae()
    reconstruction = -vae(X, EXACT).log_px.mean()
    (expected,) = torch.autograd.grad(reconstruction, vae.posterior.heads.weight)
    (found,) = torch.autograd.grad(elbo(free_bits=100.0)(vae, X, EXACT)[0], vae.posterior.heads.weight)
    torch.testing.assert_close(found, expected)


def test_free_bits_are_of_each_group_of_latents():
    ladder, noise = ladder_and_noise()
    loss, trace, _ = elbo(free_bits=50.0)(ladder, torch.ones(4, 1, 8, 8), noise)
    torch.testing.assert_close(loss, 50.0 * 32 - trace.terms["reconstruction"])


def test_a_loss_with_free_bits_is_no_mean_over_images():
    vae = linear_gaussian_vae(mean_shift=0.3)
    kl = vae(X, EXACT).latents[0].kl  # (B, D)
    free = kl.mean().item()
    assert (kl < free).any()
    assert (kl > free).any()
    objective = elbo(free_bits=free)
    together = objective(vae, X, EXACT)[0]
    alone = [objective(vae, X[i : i + 1], EXACT[:, i : i + 1])[0] for i in range(len(X))]
    assert (together - torch.stack(alone).mean()).abs() > 0.01
    assert not objective.is_mean_over_images
    assert elbo().is_mean_over_images


@pytest.mark.parametrize("setting", [{"beta": 7.0}, {"beta": 0}, {"warmup_steps": 100}, {"free_bits": 2.0}])
def test_the_elbo_is_never_weighted(setting):
    vae = linear_gaussian_vae()
    loss, trace, _ = elbo(**setting)(vae, X, EXACT, torch.tensor(3.0))
    assert trace.terms == terms_of(vae)
    assert loss != -trace.terms["elbo"]


class WithLosses(nn.Module):
    """A model with losses of its own, as a codebook has."""

    def __init__(self):
        super().__init__()
        self.vae = linear_gaussian_vae()

    def forward(self, x, noise, y=None):
        return replace(self.vae(x, noise, y), losses={"one": torch.tensor(2.0), "other": torch.tensor(0.5)})


def test_further_losses_of_the_model_are_added_unweighted():
    loss, trace, _ = elbo(beta=3.0)(WithLosses(), X, EXACT)
    torch.testing.assert_close(loss, 2.5 + 3 * trace.terms["kl"] - trace.terms["reconstruction"])


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
        ({"cycles": 0}, "cycles must be an integer of at least 1, got 0"),
        ({"free_bits": -1}, "free_bits must be a finite number of at least 0, got -1"),
    ],
)
def test_a_setting_out_of_range_is_refused_with_a_sentence(setting, sentence):
    with pytest.raises(ValueError, match=sentence):
        ELBO(**{"beta": 1.0, "warmup_steps": 0, "samples": 1, **setting})

"""The importance-weighted bound against log p(x) of a linear Gaussian VAE, and its estimators of the gradient."""

import pytest
import torch

from helpers.estimators import IMAGES, X, gradient, gradients, ladder_and_noise, noise_of
from helpers.linear_gaussian import linear_gaussian_vae, log_marginal
from helpers.steps import assert_compiled_is_eager
from vaelab.errors import UserError
from vaelab.objective.iwae import GRADIENTS, IWAE
from vaelab.posterior.delta import DeltaPosterior


def bound(samples, vae, seed=0):
    objective = IWAE(samples, "standard")
    return -objective(vae, X, noise_of(objective, vae, seed))[0].item()


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_of_one_sample_it_is_the_elbo_with_an_estimated_kl(gradient):
    vae, objective = linear_gaussian_vae(mean_shift=0.3), IWAE(1, gradient)
    loss, trace, terms = objective(vae, X, noise_of(objective, vae))
    (latent,) = trace.latents
    torch.testing.assert_close(loss, -(trace.log_px + latent.log_p - latent.log_q).mean())
    assert terms == {}


@pytest.mark.parametrize("samples", [1, 7])
def test_with_the_exact_posterior_it_is_the_log_marginal(samples):
    vae = linear_gaussian_vae()
    assert bound(samples, vae) == pytest.approx(log_marginal(vae, X).mean().item(), rel=1e-4)


def test_it_grows_with_the_samples_to_the_log_marginal():
    vae = linear_gaussian_vae(mean_shift=0.1, variance_factor=2.0)
    exact = log_marginal(vae, X).mean().item()
    found = [sum(bound(samples, vae, seed) for seed in range(200)) / 200 for samples in (1, 3, 10)]
    assert found[0] + 0.1 < found[1]
    assert found[1] + 0.05 < found[2] < exact
    assert bound(20_000, vae) == pytest.approx(exact, abs=0.02)


def test_the_estimators_have_one_value_and_one_gradient_of_the_decoder():
    vae = linear_gaussian_vae(mean_shift=0.3, variance_factor=1.3)
    objectives = [IWAE(4, kind) for kind in GRADIENTS]
    (loss, expected), *others = [gradient(each, vae, noise_of(each, vae)) for each in objectives]
    for other_loss, found in others:
        torch.testing.assert_close(other_loss, loss)
        torch.testing.assert_close(found["decoder.0.weight"], expected["decoder.0.weight"], rtol=1e-4, atol=1e-4)
        assert not torch.allclose(found["posterior.heads.weight"], expected["posterior.heads.weight"], rtol=0.01)


def errors_apart(one, other):
    """How many standard errors the means of two samples (N, P) are apart, by coordinate."""
    return (one.mean(0) - other.mean(0)).abs() / (one.var(0) / len(one) + other.var(0) / len(other)).sqrt()


def test_dreg_has_the_mean_of_the_bounds_gradient_and_a_smaller_variance_and_stl_another_mean():
    vae = linear_gaussian_vae(mean_shift=0.3, variance_factor=1.3)
    (plain, _), (dreg, _), (stl, _) = (gradients(IWAE(4, kind), vae, 300) for kind in ("standard", "dreg", "stl"))
    assert errors_apart(plain, dreg).max() < 4.5
    assert dreg.var(0).sum() < plain.var(0).sum() / 5
    assert errors_apart(plain, stl).max() > 10


def test_of_one_sample_stl_has_the_mean_of_the_bounds_gradient():
    vae = linear_gaussian_vae(mean_shift=0.3, variance_factor=1.3)
    (plain, _), (stl, _) = (gradients(IWAE(1, kind), vae, 300) for kind in ("standard", "stl"))
    assert errors_apart(plain, stl).max() < 4.5
    assert stl.var(0).sum() < plain.var(0).sum()


@pytest.mark.parametrize("gradient", ["stl", "dreg"])
def test_with_the_exact_posterior_stl_and_dreg_have_no_variance(gradient):
    vae = linear_gaussian_vae()
    (plain, _), (found, _) = (gradients(IWAE(3, kind), vae, 20) for kind in ("standard", gradient))
    assert found.abs().max() < 1e-2
    assert plain.std(0).max() > 0.1


def test_a_ladder_and_a_posterior_without_a_density_are_refused_with_a_sentence():
    ladder, noise = ladder_and_noise(samples=3)
    x = torch.ones(4, 1, 8, 8)
    assert IWAE(3, "standard")(ladder, x, noise)[0].isfinite()
    for kind in ("stl", "dreg"):
        with pytest.raises(UserError, match=f"gradient={kind} needs a model with one group of latents, got 2 groups"):
            IWAE(3, kind)(ladder, x, noise)
    vae = linear_gaussian_vae()
    vae.posterior = DeltaPosterior(6, 2)
    for kind in GRADIENTS:
        with pytest.raises(UserError, match="Point has no density, which an importance weight needs"):
            IWAE(3, kind)(vae, X, torch.zeros(3, IMAGES, 2))


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"samples": 0}, "samples must be an integer of at least 1, got 0"),
        ({"gradient": "dregs"}, "gradient must be one of standard, stl, dreg, got 'dregs'; did you mean 'dreg'"),
    ],
)
def test_a_setting_out_of_range_is_refused_with_a_sentence(setting, sentence):
    with pytest.raises(ValueError, match=sentence):
        IWAE(**{"samples": 1, "gradient": "standard", **setting})


@pytest.mark.slow
def test_compiled_steps_of_dreg_whose_gradient_is_hooked_are_eager_ones():
    assert_compiled_is_eager(lambda: IWAE(4, "dreg"))
    assert_compiled_is_eager(lambda: IWAE(4, "stl"))

"""The discrepancy of normal samples against its closed form, and the two losses that it makes."""

import math

import pytest
import torch

from helpers.combinations import normals
from helpers.estimators import IMAGES, X, ladder_and_noise, noise_of
from helpers.linear_gaussian import LATENT_DIM, linear_gaussian_vae
from vaelab.errors import UserError
from vaelab.objective.mmd import KERNELS, MMD
from vaelab.posterior.delta import DeltaPosterior
from vaelab.prior.mixture import MixturePrior


def mmd(kernel="imq", alpha=1.0, lambda_mmd=10.0, bandwidth=1.0):
    return MMD(alpha, lambda_mmd, kernel, bandwidth)


def estimates(objective, shift, batch, dims=3, repeats=1000):
    """Of so many pairs of batches of N(0, I) and N(shift, I)."""
    a, b = normals(2, repeats, batch, dims)
    return torch.stack([objective.discrepancy(*pair) for pair in zip(a, b + shift, strict=True)])


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("batch", [2, 10])
def test_between_samples_of_one_density_its_mean_is_zero(kernel, batch):
    found = estimates(mmd(kernel), 0.0, batch)
    error = found.std() / len(found) ** 0.5
    assert found.mean().abs() < 3 * error
    assert found.min() < 0 < found.max()
    assert error < 0.02


def second_moment(kernel, dims, pairs=400_000):
    """E[h^2] and its error, of h = k(x, x') + k(y, y') - k(x, y') - k(x', y) for independent x, x', y, y' ~ N(0, I)."""
    draws = torch.randn(4, pairs, dims, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    x, other_x, y, other_y = draws

    def k(a, b):
        scaled = (a - b).square().sum(-1) / (2 * dims)
        return torch.exp(-scaled) if kernel == "rbf" else 1 / (1 + scaled)

    squared = (k(x, other_x) + k(y, other_y) - k(x, other_y) - k(other_x, y)).square()
    return squared.mean(), squared.std() / pairs**0.5


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("batch", [2, 5])
def test_between_samples_of_one_density_its_variance_is_that_of_the_u_statistic(kernel, batch, draws=20_000):
    """2 / (B (B - 1)) E[h^2], for E[h | x, y] = 0 (Gretton et al., 2012, section 6)."""
    found = torch.vmap(mmd(kernel).discrepancy)(*normals(2, draws, batch, 3)).double().square()
    moment, error = (2 / (batch * (batch - 1)) * value for value in second_moment(kernel, 3))
    errors = (found.var() / draws + error.square()).sqrt()
    assert errors < 0.05 * moment
    assert (found.mean() - moment).abs() < 3.5 * errors


def expected(kernel, shift, dims, bandwidth):
    """2 (E k of N(0, 2I) - E k of N(shift, 2I)); an inverse multiquadric is a mean of Gaussians with rates t / C."""
    width, squared = 2 * dims * bandwidth**2, dims * shift**2

    def gaussian(t, squared):
        return (1 + 4 * t / width) ** (-dims / 2) * torch.exp(-t * squared / (width + 4 * t))

    if kernel == "rbf":
        t = torch.ones(())
        return 2 * (gaussian(t, 0 * t) - gaussian(t, squared))
    t = torch.linspace(0, 40, 40_001)
    return 2 * torch.trapezoid(torch.exp(-t) * (gaussian(t, 0 * t) - gaussian(t, squared)), t)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("bandwidth", [1.0, 0.5])
def test_between_shifted_normals_its_mean_is_the_closed_form(kernel, bandwidth):
    found = estimates(mmd(kernel, bandwidth=bandwidth), 0.7, batch=20)
    exact = expected(kernel, 0.7, 3, bandwidth).item()
    assert found.mean().item() == pytest.approx(exact, abs=3.5 * found.std().item() / len(found) ** 0.5)
    assert exact > 0.05


@pytest.mark.parametrize("kernel", KERNELS)
def test_its_gradient_draws_a_sample_to_the_prior(kernel):
    a, b = normals(2, 200, 2)
    a = (a + 1).requires_grad_()
    mmd(kernel).discrepancy(a, b).backward()
    assert (a.grad.mean(0) > 0).all()


def test_the_loss_weights_kl_and_mmd_as_infovae_does():
    vae = linear_gaussian_vae(mean_shift=0.3)
    noise = noise_of(mmd(), vae)
    for alpha, lambda_mmd in ((1.0, 10.0), (0.0, 1.0), (-2.0, 10.0), (0.5, 1000.0)):
        loss, trace, terms = mmd(alpha=alpha, lambda_mmd=lambda_mmd)(vae, X, noise)
        expected = (1 - alpha) * trace.kl.mean() + (alpha + lambda_mmd - 1) * terms["mmd"] - trace.log_px.mean()
        torch.testing.assert_close(loss, expected)
    loss, trace, _ = mmd(alpha=0.0, lambda_mmd=1.0)(vae, X, noise)
    torch.testing.assert_close(loss, -trace.terms["elbo"])


def test_one_sample_of_the_noise_is_the_models_and_the_other_the_priors():
    vae = linear_gaussian_vae(mean_shift=0.3)
    vae.prior = MixturePrior(LATENT_DIM, components=4)
    noise = noise_of(mmd(), vae)
    _, trace, terms = mmd()(vae, X, noise)
    drawn, _ = vae.prior_of().draw(noise[1])
    torch.testing.assert_close(terms["mmd"], mmd().discrepancy(vae(X, noise[:1]).latents[0].z[0], drawn))
    assert trace.log_px.shape == (1, IMAGES)
    terms["mmd"].backward()
    assert vae.prior.mean.grad.abs().sum() > 0


def test_without_a_kl_the_posterior_needs_no_density():
    vae = linear_gaussian_vae()
    vae.posterior = DeltaPosterior(6, LATENT_DIM)
    loss, trace, terms = mmd()(vae, X, noise_of(mmd(), vae))
    torch.testing.assert_close(loss, 10 * terms["mmd"] - trace.log_px.mean())
    with pytest.raises(UserError, match="Point has no density, which its KL needs; choose objective=rae"):
        mmd(alpha=0.5)(vae, X, noise_of(mmd(), vae))


def test_one_image_has_no_discrepancy():
    assert mmd().discrepancy(torch.ones(1, 2), torch.zeros(1, 2)) == 0


def test_a_ladder_is_refused_with_a_sentence():
    ladder, noise = ladder_and_noise(samples=2)
    with pytest.raises(UserError, match="the MMD needs a model with one group of latents, got a ladder of 2"):
        mmd()(ladder, torch.ones(4, 1, 8, 8), noise)


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"alpha": 1.5}, "alpha must be a finite number of at most 1, got 1.5"),
        ({"alpha": math.nan}, "alpha must be a finite number of at most 1, got nan"),
        ({"alpha": -2.0, "lambda_mmd": 2.0}, "lambda_mmd must be at least 1 - alpha = 3, for the MMD's weight, got 2"),
        ({"lambda_mmd": -1}, "lambda_mmd must be a finite number of at least 0, got -1"),
        ({"kernel": "linear"}, "kernel must be one of rbf, imq, got 'linear'"),
        ({"bandwidth": 0}, "bandwidth must be a finite number above 0, got 0"),
    ],
)
def test_a_setting_out_of_range_is_refused_with_a_sentence(setting, sentence):
    with pytest.raises(ValueError, match=sentence):
        mmd(**setting)

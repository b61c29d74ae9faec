"""The similarity of structures: its scales, its bounds and its gradient; and the loss that it makes."""

import pytest
import torch

from helpers.combinations import levels, normals, vae_of
from helpers.estimators import ladder_and_noise
from vaelab.errors import UserError
from vaelab.objective.elbo import ELBO
from vaelab.objective.ms_ssim import MSSSIM, SIGMAS, WEIGHTS, window_and_scales
from vaelab.ops import unit_interval

X = unit_interval(levels(4, 1, 8, 8))


def ms_ssim(size=8, weight=100.0, beta=1.0, reconstruction=0.0):
    return MSSSIM((1, size, size), weight, beta, reconstruction)


@pytest.mark.parametrize(
    ("size", "window", "scales"),
    [
        *((5, 5, 1), (8, 5, 1), (10, 5, 2), (11, 11, 1), (28, 11, 2), (32, 11, 2), (64, 11, 3)),
        *((87, 11, 3), (88, 11, 4), (175, 11, 4), (176, 11, 5)),
    ],
)
def test_the_scales_are_those_at_which_the_window_fits(size, window, scales):
    assert window_and_scales(size) == (window, scales)
    assert size // 2 ** (scales - 1) >= window


@pytest.mark.parametrize("size", [*range(5, 24), 28, 32, 43, 44, 64, 98])
def test_at_every_size_it_is_1_for_equal_images_and_has_a_gradient_however_unlike_they_are(size):
    objective = ms_ssim(size)
    x = unit_interval(levels(2, 1, size, size))
    assert objective.similarity(x, x).item() == pytest.approx(1, abs=1e-5)
    for other in (1 - x, torch.zeros_like(x), torch.ones_like(x), x.flip(0)):
        other = other.clone().requires_grad_()
        similarity = objective.similarity(other, x)
        similarity.backward()
        assert 0 <= similarity < 0.9
        assert other.grad.isfinite().all()
        assert other.grad.abs().sum() > 0


def by_definition(a, b, width, scales):
    """Every window of both images by itself, in float64 (Wang et al., 2003), each scale moved to 0 to 1."""
    steps = torch.arange(width).double() - width // 2
    weights = torch.exp(-(steps.square() + steps[:, None].square()) / (2 * SIGMAS[width] ** 2)).flatten()
    weights, found = (weights / weights.sum())[:, None], torch.ones(len(a)).double()
    a, b = a.double(), b.double()
    for scale in range(scales):
        u, v = (torch.nn.functional.unfold(image.flatten(0, 1)[:, None], width) for image in (a, b))
        mean_u, mean_v = ((weights * x).sum(1, keepdim=True) for x in (u, v))
        covariance, *variances = (
            (weights * x).sum(1, keepdim=True)
            for x in ((u - mean_u) * (v - mean_v), (u - mean_u).square(), (v - mean_v).square())
        )
        value = (2 * covariance + 0.0009) / (sum(variances) + 0.0009)
        if scale == scales - 1:
            value = value * (2 * mean_u * mean_v + 0.0001) / (mean_u.square() + mean_v.square() + 0.0001)
        mean = value.unflatten(0, a.shape[:2]).flatten(1).mean(1)
        found = found * ((1 + mean) / 2) ** (WEIGHTS[scale] / sum(WEIGHTS[:scales]))
        a, b = (torch.nn.functional.avg_pool2d(image, 2) for image in (a, b))
    return found.mean().float()


@pytest.mark.parametrize(("size", "width", "scales"), [(8, 5, 1), (28, 11, 2), (65, 11, 3), (176, 11, 5)])
def test_it_is_what_it_is_by_definition(size, width, scales):
    x, noise = (unit_interval(levels(2, 3, size, size, seed=seed)) for seed in (0, 1))
    other = 0.5 * (x + noise)
    found = MSSSIM((3, size, size), 1.0, 1.0, 0.0).similarity(other, x)
    torch.testing.assert_close(found, by_definition(other, x, width, scales), rtol=1e-4, atol=1e-5)


def test_it_falls_with_the_noise_on_the_images():
    smooth = torch.linspace(0, 1, 32).expand(2, 1, 32, 32)
    found = [ms_ssim(32).similarity((smooth + s * normals(2, 1, 32, 32)).clamp(0, 1), smooth) for s in (0.02, 0.1, 0.3)]
    assert 1 > found[0] > found[1] > found[2]


def test_the_loss_is_the_weighted_sum_and_the_elbo_stays_the_elbo():
    vae, noise = vae_of(), normals(1, 4, 5)
    loss, trace, terms = ms_ssim(weight=30.0, beta=2.0, reconstruction=0.5)(vae, X, noise)
    means = vae.likelihood.mean(vae.decode(trace.latents[0].z[0]))
    similarity = ms_ssim().similarity(means, X)
    torch.testing.assert_close(terms, {"ms_ssim": similarity})
    expected = 30 * (1 - similarity) + 2 * trace.terms["kl"] - 0.5 * trace.terms["reconstruction"]
    torch.testing.assert_close(loss, expected)
    assert trace.terms == ELBO(1.0, 0, 1)(vae, X, noise)[1].terms


@pytest.mark.parametrize("reconstruction", [0.0, 0.1])
def test_the_reconstruction_trains_the_likelihoods_own_parameters(reconstruction):
    vae = vae_of(likelihood="gaussian")
    ms_ssim(reconstruction=reconstruction)(vae, X, normals(1, 4, 5))[0].backward()
    assert (vae.likelihood.raw_log_sigma.grad is not None) == bool(reconstruction)
    assert all(parameter.grad.abs().sum() > 0 for parameter in vae.decoder.parameters())


def test_images_without_room_for_a_window_and_a_ladder_are_refused_with_a_sentence():
    with pytest.raises(UserError, match="MS-SSIM needs images of at least 5 pixels a side for its window, got 4"):
        ms_ssim(4)
    ladder, noise = ladder_and_noise()
    with pytest.raises(UserError, match="needs a model of an encoder and a decoder, got Ladder"):
        ms_ssim()(ladder, X, noise)


@pytest.mark.parametrize("key", ["weight", "beta", "reconstruction"])
def test_a_weight_out_of_range_is_refused_with_a_sentence(key):
    with pytest.raises(ValueError, match=f"{key} must be a finite number of at least 0, got -1"):
        ms_ssim(**{key: -1})

"""The similarity of structures: its scales, its bounds and its gradient; and the loss that it makes."""

import pytest
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from helpers.combinations import levels, normals, vae_of
from helpers.estimators import ladder_and_noise
from vaelab.errors import UserError
from vaelab.objective.elbo import ELBO
from vaelab.objective.ms_ssim import MSSSIM, window_and_scales
from vaelab.ops import unit_interval

X = unit_interval(levels(4, 1, 8, 8))


def ms_ssim(size=8, weight=100.0, beta=1.0, reconstruction=0.0):
    return MSSSIM((1, size, size), weight, beta, reconstruction)


@pytest.mark.parametrize(
    ("size", "window", "scales"),
    [
        *((5, 5, 1), (8, 5, 1), (10, 5, 2), (11, 11, 1), (28, 11, 2), (32, 11, 2), (64, 11, 3)),
        *((98, 11, 3), (99, 11, 4), (175, 11, 4), (176, 11, 5)),
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


def test_of_one_scale_it_is_the_ssim_moved_to_0_to_1():
    other = unit_interval(levels(4, 1, 8, 8, seed=1))
    ssim = structural_similarity_index_measure(other, X, sigma=0.5, data_range=1.0)
    torch.testing.assert_close(ms_ssim().similarity(other, X), (1 + ssim) / 2)


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

"""The encoder's gradient is that of several bounds, the decoder's that of one: held to separate passes of autograd."""

import pytest
import torch

from helpers.estimators import X, gradient, ladder_and_noise, noise_of
from helpers.linear_gaussian import LATENT_DIM, linear_gaussian_vae
from vaelab.errors import UserError
from vaelab.likelihood.gaussian import GaussianLikelihood
from vaelab.objective.iwae import IWAE
from vaelab.objective.miwae import MIWAE
from vaelab.objective.piwae import PIWAE
from vaelab.prior.mixture import MixturePrior


def assert_gradients_of(found, encoder, decoder, of_encoder):
    """Each parameter's gradient is that of its bound, and not that of the other.

    Args:
        found: by name.
        encoder: what q(z|x) must get.
        decoder: what p(x, z) must get.
        of_encoder: the beginnings of names of parameters of q.
    """
    for name, value in found.items():
        right, wrong = (encoder, decoder) if name.startswith(of_encoder) else (decoder, encoder)
        torch.testing.assert_close(value, right[name], rtol=1e-3, atol=1e-4)
        assert not torch.allclose(value, wrong[name], rtol=1e-2, atol=1e-4), name


def test_encoder_decoder_and_prior_get_the_gradients_of_their_bounds():
    vae = linear_gaussian_vae(mean_shift=0.2, variance_factor=1.5)
    vae.prior = MixturePrior(LATENT_DIM, components=4)
    objective = PIWAE(bounds=3, samples_per_bound=2)
    noise = noise_of(objective, vae)
    _, encoder = gradient(MIWAE(3, 2), vae, noise)
    loss, decoder = gradient(IWAE(6, "standard"), vae, noise)
    value, found = gradient(objective, vae, noise)
    torch.testing.assert_close(value, loss)
    assert_gradients_of(found, encoder, decoder, ("posterior",))


def test_the_optimal_sigma_is_that_of_the_samples_and_its_running_mean_moves_once_a_step():
    found = []
    for objective in (PIWAE(2, 3), IWAE(6, "standard")):
        vae = linear_gaussian_vae(mean_shift=0.2)
        vae.likelihood = GaussianLikelihood("optimal")
        _, trace, _ = objective(vae, X, noise_of(objective, vae))
        found.append([trace.log_px[:6], *vae.likelihood.buffers()])
    torch.testing.assert_close(*found)


def test_a_ladder_is_refused_with_a_sentence():
    ladder, noise = ladder_and_noise(samples=4)
    with pytest.raises(UserError, match="PIWAE, which trains q and p apart, needs a model with one group of latents"):
        PIWAE(2, 2)(ladder, torch.ones(4, 1, 8, 8), noise)


@pytest.mark.parametrize("sizes", [(1, 6), (1, 1)])
def test_of_one_bound_it_is_that_bound(sizes):
    vae = linear_gaussian_vae(mean_shift=0.2)
    noise = noise_of(PIWAE(*sizes), vae)
    (loss, found), (expected_loss, expected) = (
        gradient(each, vae, noise) for each in (PIWAE(*sizes), IWAE(len(noise), "standard"))
    )
    torch.testing.assert_close(loss, expected_loss)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_bounds_whose_weights_underflow_still_train_the_encoder():
    vae = linear_gaussian_vae()
    noise = noise_of(PIWAE(2, 2), vae)
    noise[2:] += 300  # the second bound's samples are far out: of all weights theirs are nothing
    encoder, found = (gradient(each, vae, noise)[1]["posterior.heads.bias"] for each in (MIWAE(2, 2), PIWAE(2, 2)))
    assert encoder.abs().max() > 100
    torch.testing.assert_close(found, encoder, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("key", ["bounds", "samples_per_bound"])
def test_a_setting_out_of_range_is_refused_with_a_sentence(key):
    with pytest.raises(ValueError, match=f"{key} must be an integer of at least 1, got 0"):
        PIWAE(**{"bounds": 2, "samples_per_bound": 2, key: 0})

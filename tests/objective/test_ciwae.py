"""The convex combination of the ELBO and the importance-weighted bound."""

import pytest
import torch

from helpers.estimators import gradient, noise_of
from helpers.linear_gaussian import linear_gaussian_vae
from vaelab.objective.ciwae import CIWAE
from vaelab.objective.iwae import IWAE
from vaelab.objective.miwae import MIWAE

VAE = linear_gaussian_vae(mean_shift=0.2, variance_factor=1.5)
NOISE = noise_of(IWAE(5, "standard"), VAE)


def test_its_limits_are_the_importance_weighted_bound_and_the_elbo():
    torch.testing.assert_close(gradient(CIWAE(0, 5), VAE, NOISE), gradient(IWAE(5, "standard"), VAE, NOISE))
    torch.testing.assert_close(gradient(CIWAE(1, 5), VAE, NOISE), gradient(MIWAE(5, 1), VAE, NOISE))


def test_between_them_loss_and_gradient_are_linear_in_beta():
    (loss, mixed), (iwae, of_iwae), (elbo, of_elbo) = (gradient(CIWAE(beta, 5), VAE, NOISE) for beta in (0.3, 0, 1))
    torch.testing.assert_close(loss, 0.3 * elbo + 0.7 * iwae)
    for name, value in mixed.items():
        torch.testing.assert_close(value, 0.3 * of_elbo[name] + 0.7 * of_iwae[name], rtol=1e-4, atol=1e-4)
    assert iwae + 0.1 < loss < elbo


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"beta": -0.1}, "beta must be a finite number of at least 0, got -0.1"),
        ({"beta": 1.1}, "beta must be at most 1, the weight of the ELBO alone, got 1.1"),
        ({"samples": 0}, "samples must be an integer of at least 1, got 0"),
    ],
)
def test_a_setting_out_of_range_is_refused_with_a_sentence(setting, sentence):
    with pytest.raises(ValueError, match=sentence):
        CIWAE(**{"beta": 0.5, "samples": 2, **setting})

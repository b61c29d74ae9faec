"""The mean of several bounds, between the ELBO and one bound of all samples."""

import pytest
import torch

from helpers.estimators import X, gradient, noise_of
from helpers.linear_gaussian import linear_gaussian_vae
from vaelab.objective.iwae import IWAE
from vaelab.objective.miwae import MIWAE

VAE = linear_gaussian_vae(mean_shift=0.2, variance_factor=1.5)


def test_of_one_bound_it_is_that_bound():
    noise = noise_of(MIWAE(1, 6), VAE)
    torch.testing.assert_close(gradient(MIWAE(1, 6), VAE, noise), gradient(IWAE(6, "standard"), VAE, noise))


def test_of_bounds_of_one_sample_it_is_the_elbo_with_an_estimated_kl():
    objective = MIWAE(6, 1)
    loss, trace, terms = objective(VAE, X, noise_of(objective, VAE))
    torch.testing.assert_close(loss, -trace.log_w.mean())
    assert terms == {}


def test_it_is_the_mean_of_the_bounds_of_each_k_samples():
    objective = MIWAE(bounds=2, samples_per_bound=3)
    noise = noise_of(objective, VAE)
    halves = [IWAE(3, "standard")(VAE, X, half)[0] for half in noise.split(3)]
    torch.testing.assert_close(objective(VAE, X, noise)[0], sum(halves) / 2)


def test_it_lies_between_the_elbo_and_the_bound_of_all_samples():
    noise = noise_of(MIWAE(6, 1), VAE)
    elbo, *others = (-MIWAE(bounds, 6 // bounds)(VAE, X, noise)[0] for bounds in (6, 3, 2, 1))
    for other in others:
        assert elbo < other
    assert max(others) == others[-1]


@pytest.mark.parametrize("key", ["bounds", "samples_per_bound"])
def test_a_setting_out_of_range_is_refused_with_a_sentence(key):
    with pytest.raises(ValueError, match=f"{key} must be an integer of at least 1, got 0"):
        MIWAE(**{"bounds": 2, "samples_per_bound": 2, key: 0})

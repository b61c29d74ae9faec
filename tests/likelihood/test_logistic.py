"""The discretized logistic likelihood on 256 levels."""

import pytest
import torch

from vaelab.likelihood.discretized_logistic import MIN_LOG_SCALE
from vaelab.likelihood.logistic import LogisticLikelihood
from vaelab.ops import generator
from vaelab.parts import MASS

LEVELS = torch.arange(256) / 255
LOG_SCALES = [-50.0, -7.0, -5.0, -3.0, -1.0, 0.0, 2.0, 10.0, 60.0]
MEANS = [-30.0, -1.0, -0.98, 0.0, 0.5, 1.0, 4.0]


def log_masses(mean, log_scale):
    """Log masses of the 256 levels of one pixel."""
    params = torch.tensor([mean, log_scale]).view(1, 1, 2, 1, 1).expand(1, 256, -1, -1, -1)
    return LogisticLikelihood().log_prob(params, LEVELS.view(256, 1, 1, 1))[0]


def direct(mean, log_scale):
    """The masses as differences of sigmoids in float64."""
    edges = (2 * torch.arange(1, 256, dtype=torch.float64) - 1) / 255 - 1  # between levels k - 1 and k
    inner = torch.sigmoid((edges - mean) * torch.exp(torch.tensor(-log_scale, dtype=torch.float64)))
    outer = torch.cat([torch.zeros(1), inner, torch.ones(1)])
    return outer[1:] - outer[:-1]


@pytest.mark.parametrize("log_scale", LOG_SCALES)
@pytest.mark.parametrize("mean", MEANS)
def test_the_256_masses_sum_to_one(mean, log_scale):
    assert log_masses(mean, log_scale).double().exp().sum().item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("log_scale", [s for s in LOG_SCALES if s >= MIN_LOG_SCALE])
@pytest.mark.parametrize("mean", MEANS)
def test_the_masses_are_differences_of_sigmoids(mean, log_scale):
    expected = direct(mean, log_scale)
    # an absolute tolerance, for in the tails the float64 difference is the one that loses its digits
    torch.testing.assert_close(log_masses(mean, log_scale).double().exp(), expected, rtol=2e-3, atol=1e-7)


@pytest.mark.parametrize("log_scale", LOG_SCALES)
@pytest.mark.parametrize("mean", MEANS)
def test_every_log_mass_and_its_gradient_is_finite_and_at_most_zero(mean, log_scale):
    params = torch.tensor([mean, log_scale]).view(1, 1, 2, 1, 1).expand(1, 256, -1, -1, -1).clone().requires_grad_()
    log_prob = LogisticLikelihood().log_prob(params, LEVELS.view(256, 1, 1, 1))
    log_prob.sum().backward()
    assert log_prob.isfinite().all()
    assert log_prob.max() <= 1e-6
    assert params.grad.isfinite().all()


@pytest.mark.parametrize("log_scale", LOG_SCALES)
@pytest.mark.parametrize("mean", MEANS)
def test_the_mean_is_the_expectation_of_the_masses_up_to_half_a_level(mean, log_scale):
    found = LogisticLikelihood().mean(torch.tensor([mean, log_scale]).view(1, 2, 1, 1)).item()
    expected = (direct(mean, min(max(log_scale, MIN_LOG_SCALE), 20.0)) * LEVELS).sum().item()
    assert found == pytest.approx(expected, abs=0.501 / 255 if log_scale < -3 else 2e-5)


@pytest.mark.parametrize(("mean", "log_scale"), [(0.0, -3.0), (0.9, -2.0), (-1.2, -4.0), (0.3, 3.0), (0.0, -7.0)])
def test_samples_have_the_frequencies_of_the_masses(mean, log_scale):
    count = 50_000
    params = torch.tensor([mean, log_scale]).view(1, 2, 1, 1).expand(count, -1, -1, -1)
    drawn = LogisticLikelihood().sample(params, generator(0, "test")).flatten() * 255
    frequencies = drawn.round().long().bincount(minlength=256) / count
    masses = log_masses(mean, log_scale).exp()
    assert ((frequencies - masses).abs() < 6 * (masses * (1 - masses) / count).sqrt() + 1e-4).all()


def test_a_sharp_logistic_puts_its_mass_on_the_level_of_its_mean():
    for level in (0, 1, 100, 254, 255):
        masses = log_masses(2 * level / 255 - 1, -7.0).exp()
        assert masses.argmax() == level
        assert masses[level] > 0.95


@pytest.mark.parametrize("mean", [-1.0, 0.0013, 0.5])
def test_a_scale_below_the_bound_counts_as_the_bound_in_masses_and_samples(mean):
    torch.testing.assert_close(log_masses(mean, MIN_LOG_SCALE - 3), log_masses(mean, MIN_LOG_SCALE))
    scales = (MIN_LOG_SCALE - 3, MIN_LOG_SCALE)
    pair = (torch.tensor([mean, scale]).view(1, 2, 1, 1).expand(500, -1, -1, -1) for scale in scales)
    below, bound = (LogisticLikelihood().sample(params, generator(0, "test")) for params in pair)
    assert torch.equal(below, bound)


def test_it_is_a_mass_on_the_256_levels_only():
    assert LogisticLikelihood().out_channels(3) == 6
    assert LogisticLikelihood().pixels == {"levels": MASS}

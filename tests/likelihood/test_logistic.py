"""The discretized logistic likelihood on 256 levels."""

import pytest
import torch

from helpers.combinations import levels, normals
from vaelab.likelihood.logistic import MIN_LOG_SCALE, LogisticLikelihood
from vaelab.ops import generator, unit_interval
from vaelab.parts import MASS

LEVELS = torch.arange(256) / 255
LOG_SCALES = [-50.0, -7.0, -5.0, -3.0, -1.0, 0.0, 2.0, 10.0, 60.0]
MEANS = [-30.0, -1.0, -0.98, 0.0, 0.5, 1.0, 4.0]


def log_masses(mean, log_scale):
    """Log masses of the 256 levels of one pixel."""
    params = torch.tensor([mean, log_scale]).view(1, 1, 2, 1, 1).expand(1, 256, -1, -1, -1)
    return LogisticLikelihood().log_prob(params, LEVELS.view(256, 1, 1, 1))[0]


def direct(mean, log_scale):
    """The same as differences of sigmoids in float64."""
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


def test_log_prob_sums_over_pixels_and_channels():
    params = normals(5, 3, 4, 6, 7)  # two channels: means first, then log scales
    x = unit_interval(levels(3, 2, 6, 7))
    log_prob = LogisticLikelihood().log_prob(params, x)
    assert log_prob.shape == (5, 3)
    expected = 0.0
    for channel in range(2):
        pair = params[2, 1, [channel, channel + 2], 4, 5]
        one_pixel = LogisticLikelihood().log_prob(pair.view(1, 1, 2, 1, 1), x[1, channel, 4, 5].view(1, 1, 1, 1))
        masses = log_masses(*pair.tolist())
        assert one_pixel.item() == pytest.approx(masses[round(x[1, channel, 4, 5].item() * 255)].item(), abs=1e-5)
    for row in range(6):
        for column in range(7):
            part = params[2:3, 1:2, :, row : row + 1, column : column + 1]
            expected += LogisticLikelihood().log_prob(part, x[1:2, :, row : row + 1, column : column + 1]).item()
    assert log_prob[2, 1].item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("mean", "log_scale"), [(0.0, -3.0), (0.9, -2.0), (-1.2, -4.0), (0.3, 3.0), (0.0, -7.0)])
def test_samples_are_levels_with_the_frequencies_of_the_masses(mean, log_scale):
    count = 50_000
    params = torch.tensor([mean, log_scale]).view(1, 2, 1, 1).expand(count, -1, -1, -1)
    drawn = LogisticLikelihood().sample(params, generator(0, "test")).flatten() * 255
    torch.testing.assert_close(drawn, drawn.round(), rtol=0, atol=1e-4)
    frequencies = drawn.round().long().bincount(minlength=256) / count
    masses = log_masses(mean, log_scale).exp()
    assert ((frequencies - masses).abs() < 6 * (masses * (1 - masses) / count).sqrt() + 1e-4).all()


def test_samples_are_a_function_of_the_generator():
    params = torch.zeros(2, 6, 8, 8)
    first = LogisticLikelihood().sample(params, generator(1, "test"))
    assert first.shape == (2, 3, 8, 8)
    assert torch.equal(first, LogisticLikelihood().sample(params, generator(1, "test")))
    assert not torch.equal(first, LogisticLikelihood().sample(params, generator(2, "test")))


def test_the_mean_is_the_centre_cut_to_the_unit_interval():
    params = torch.zeros(1, 2, 1, 5)
    params[:, 0] = torch.tensor([-9.0, -1.0, 0.0, 0.5, 9.0])
    assert LogisticLikelihood().mean(params).flatten().tolist() == pytest.approx([0, 0, 0.5, 0.75, 1])


def test_a_sharp_logistic_puts_its_mass_on_the_level_of_its_mean():
    for level in (0, 1, 100, 254, 255):
        masses = log_masses(2 * level / 255 - 1, -7.0).exp()
        assert masses.argmax() == level
        assert masses[level] > 0.95


def test_it_is_a_mass_on_the_256_levels_only():
    assert LogisticLikelihood().out_channels(3) == 6
    assert LogisticLikelihood().pixels == {"levels": MASS}


def test_log_prob_of_an_image_is_the_sum_over_its_channels():
    params, x = normals(5, 3, 6, 4, 4), levels(3, 3, 4, 4) / 255
    apart = [LogisticLikelihood().log_prob(params[:, :, [c, c + 3]], x[:, [c]]) for c in range(3)]
    torch.testing.assert_close(sum(apart), LogisticLikelihood().log_prob(params, x))


@pytest.mark.parametrize("mean", [-1.0, 0.0013, 0.5])
def test_a_scale_below_the_bound_counts_as_the_bound_in_masses_and_samples(mean):
    torch.testing.assert_close(log_masses(mean, MIN_LOG_SCALE - 3), log_masses(mean, MIN_LOG_SCALE))
    scales = (MIN_LOG_SCALE - 3, MIN_LOG_SCALE)
    pair = (torch.tensor([mean, scale]).view(1, 2, 1, 1).expand(500, -1, -1, -1) for scale in scales)
    below, bound = (LogisticLikelihood().sample(params, generator(0, "test")) for params in pair)
    assert torch.equal(below, bound)

"""The Bernoulli likelihood."""

import pytest
import torch
from torch.distributions import Bernoulli

from helpers.combinations import levels, normals
from vaelab.likelihood.bernoulli import BernoulliLikelihood
from vaelab.ops import generator, unit_interval
from vaelab.parts import CROSS_ENTROPY, MASS

LOGITS = [-100.0, -20.0, -3.0, -0.1, 0.0, 2.0, 30.0, 100.0]


def single(logit):
    """The parameters of one pixel of one image, (K, B, C, H, W)."""
    return torch.tensor(logit).view(1, 1, 1, 1, 1)


@pytest.mark.parametrize("logit", LOGITS)
def test_the_mass_over_zero_and_one_sums_to_one(logit):
    masses = [BernoulliLikelihood().log_prob(single(logit), torch.full((1, 1, 1, 1), k)).exp() for k in (0.0, 1.0)]
    assert sum(masses).item() == pytest.approx(1)


@pytest.mark.parametrize("logit", LOGITS)
def test_log_prob_stays_finite_however_sure_the_network_is(logit):
    for k in (0.0, 1.0):
        assert BernoulliLikelihood().log_prob(single(logit), torch.full((1, 1, 1, 1), k)).isfinite().all()


def test_log_prob_sums_over_pixels_and_is_that_of_torch_distributions():
    params = normals(5, 3, 2, 4, 6)
    x = unit_interval(levels(3, 2, 4, 6)).round()
    log_prob = BernoulliLikelihood().log_prob(params, x)
    assert log_prob.shape == (5, 3)
    torch.testing.assert_close(log_prob, Bernoulli(logits=params).log_prob(x).sum((-3, -2, -1)))


def test_on_grey_values_it_is_the_cross_entropy():
    params, x = normals(1, 3, 1, 4, 4), unit_interval(levels(3, 1, 4, 4))
    p = params[0].sigmoid()
    expected = (x * p.log() + (1 - x) * (1 - p).log()).sum((1, 2, 3))
    torch.testing.assert_close(BernoulliLikelihood().log_prob(params, x)[0], expected)


def test_samples_have_the_frequencies_of_the_masses_and_the_mean():
    params = torch.linspace(-4, 4, 9).view(1, 1, 1, 9)
    drawn = BernoulliLikelihood().sample(params.expand(20_000, -1, -1, -1), generator(0, "test"))
    p = BernoulliLikelihood().mean(params)
    mass = BernoulliLikelihood().log_prob(params.view(1, 9, 1, 1, 1), torch.ones(9, 1, 1, 1)).exp()
    torch.testing.assert_close(p.flatten(), mass.flatten())
    assert drawn.unique().tolist() == [0.0, 1.0]
    assert ((drawn.mean(0) - p[0]).abs() < 5 * (p[0] * (1 - p[0]) / len(drawn)).sqrt()).all()


def test_samples_are_a_function_of_the_generator():
    params = torch.zeros(2, 1, 8, 8)
    first = BernoulliLikelihood().sample(params, generator(1, "test"))
    assert torch.equal(first, BernoulliLikelihood().sample(params, generator(1, "test")))
    assert not torch.equal(first, BernoulliLikelihood().sample(params, generator(2, "test")))


@pytest.mark.parametrize("scale", [1, 1000])
def test_the_mean_is_in_the_unit_interval(scale):
    mean = BernoulliLikelihood().mean(scale * normals(5, 3, 4, 4))
    assert mean.shape == (5, 3, 4, 4)
    assert mean.min() >= 0
    assert mean.max() <= 1


def test_only_on_binary_pixels_is_it_a_mass():
    assert BernoulliLikelihood().out_channels(3) == 3
    assert BernoulliLikelihood().pixels == {"binary": MASS, "levels": CROSS_ENTROPY}

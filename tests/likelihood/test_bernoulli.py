"""The Bernoulli likelihood."""

import pytest
import torch
from torch.distributions import Bernoulli

from helpers.combinations import levels, normals
from vaelab.likelihood.bernoulli import BernoulliLikelihood
from vaelab.ops import unit_interval
from vaelab.parts import CROSS_ENTROPY, MASS


@pytest.mark.parametrize("logit", [-100.0, -20.0, -3.0, -0.1, 0.0, 2.0, 30.0, 100.0])
def test_the_mass_over_zero_and_one_sums_to_one(logit):
    params = torch.full((1, 1, 1, 1, 1), logit)
    masses = [BernoulliLikelihood().log_prob(params, torch.full((1, 1, 1, 1), k)).exp() for k in (0.0, 1.0)]
    assert sum(masses).item() == pytest.approx(1)


def test_log_prob_is_that_of_torch_distributions():
    params = normals(5, 3, 2, 4, 6)
    x = unit_interval(levels(3, 2, 4, 6)).round()
    log_prob = BernoulliLikelihood().log_prob(params, x)
    torch.testing.assert_close(log_prob, Bernoulli(logits=params).log_prob(x).sum((-3, -2, -1)))


def test_on_grey_values_it_is_the_cross_entropy():
    params, x = normals(1, 3, 1, 4, 4), unit_interval(levels(3, 1, 4, 4))
    p = params[0].sigmoid()
    expected = (x * p.log() + (1 - x) * (1 - p).log()).sum((1, 2, 3))
    torch.testing.assert_close(BernoulliLikelihood().log_prob(params, x)[0], expected)


def test_only_on_binary_pixels_is_it_a_mass():
    assert BernoulliLikelihood().out_channels(3) == 3
    assert BernoulliLikelihood().pixels == {"binary": MASS, "levels": CROSS_ENTROPY}

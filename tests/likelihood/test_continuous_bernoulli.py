"""The continuous Bernoulli likelihood."""

import math

import pytest
import torch
from torch.distributions import ContinuousBernoulli

from helpers.combinations import levels, normals
from vaelab.likelihood.bernoulli import BernoulliLikelihood
from vaelab.likelihood.continuous_bernoulli import NEAR_ZERO, ContinuousBernoulliLikelihood
from vaelab.ops import unit_interval
from vaelab.parts import DENSITY

LOGITS = [0.0, 1e-6, 1e-3, 0.1, 2 * NEAR_ZERO - 1e-3, 2 * NEAR_ZERO + 1e-3, 1.0, 5.0, 30.0, 200.0]


def test_log_prob_is_that_of_torch_distributions():
    params, x = 3 * normals(5, 3, 2, 4, 6), unit_interval(levels(3, 2, 4, 6))
    expected = ContinuousBernoulli(logits=params.double()).log_prob(x.double()).sum((-3, -2, -1)).float()
    torch.testing.assert_close(ContinuousBernoulliLikelihood().log_prob(params, x), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("logit", [*LOGITS, *(-logit for logit in LOGITS)])
def test_it_is_the_bernoulli_with_its_normaliser_with_all_digits_of_value_and_gradient(logit):
    x = torch.linspace(0, 1, 7)
    found = torch.tensor(logit, requires_grad=True)
    log_prob = ContinuousBernoulliLikelihood().log_prob(found.expand(1, 7, 1, 1, 1), x.view(7, 1, 1, 1))
    exact = torch.tensor(logit, dtype=torch.float64, requires_grad=True)
    log_normaliser = (exact / torch.tanh(exact / 2)).log() if logit else torch.tensor(math.log(2))
    bernoulli = BernoulliLikelihood((1, 1, 1), centred=False)
    bernoulli = bernoulli.log_prob(exact.expand(1, 7, 1, 1, 1), x.double().view(7, 1, 1, 1))
    torch.testing.assert_close(log_prob.double(), bernoulli + log_normaliser, rtol=1e-6, atol=2e-6)
    log_prob.sum().backward()
    (bernoulli + log_normaliser).sum().backward()
    torch.testing.assert_close(found.grad.double(), exact.grad, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("logit", LOGITS[1:])
def test_the_mean_has_its_closed_form_on_both_sides_of_a_half(logit):
    closed = 1 / -math.expm1(-logit) - 1 / logit if logit > 1e-4 else 0.5 + logit / 12
    for sign, expected in ((1, closed), (-1, 1 - closed)):
        mean = ContinuousBernoulliLikelihood().mean(torch.full((1, 1, 1, 1), sign * logit))
        assert mean.item() == pytest.approx(expected, abs=1e-6)


def test_it_is_a_density_and_scores_no_binary_pixels():
    assert ContinuousBernoulliLikelihood().out_channels(3) == 3
    assert ContinuousBernoulliLikelihood().pixels == {"levels": DENSITY}

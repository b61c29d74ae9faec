"""The Bernoulli likelihood."""

import pytest
import torch
from torch.distributions import Bernoulli

from helpers.combinations import levels, normals
from vaelab.likelihood.bernoulli import BernoulliLikelihood
from vaelab.ops import unit_interval
from vaelab.parts import CROSS_ENTROPY, MASS
from vaelab.run.build import Builder

BERNOULLI = BernoulliLikelihood((1, 4, 4), centred=False)


@pytest.mark.parametrize("logit", [-100.0, -20.0, -3.0, -0.1, 0.0, 2.0, 30.0, 100.0])
def test_the_mass_over_zero_and_one_sums_to_one(logit):
    params = torch.full((1, 1, 1, 1, 1), logit)
    masses = [BERNOULLI.log_prob(params, torch.full((1, 1, 1, 1), k)).exp() for k in (0.0, 1.0)]
    assert sum(masses).item() == pytest.approx(1)


def test_log_prob_is_that_of_torch_distributions():
    params = normals(5, 3, 2, 4, 6)
    x = unit_interval(levels(3, 2, 4, 6)).round()
    log_prob = BERNOULLI.log_prob(params, x)
    torch.testing.assert_close(log_prob, Bernoulli(logits=params).log_prob(x).sum((-3, -2, -1)))


def test_on_grey_values_it_is_the_cross_entropy():
    params, x = normals(1, 3, 1, 4, 4), unit_interval(levels(3, 1, 4, 4))
    p = params[0].sigmoid()
    expected = (x * p.log() + (1 - x) * (1 - p).log()).sum((1, 2, 3))
    torch.testing.assert_close(BERNOULLI.log_prob(params, x)[0], expected)


def test_only_on_binary_pixels_is_it_a_mass():
    assert BERNOULLI.out_channels(3) == 3
    assert BERNOULLI.pixels == {"binary": MASS, "levels": CROSS_ENTROPY}


def test_logits_of_zero_are_the_mean_image_of_a_centred_one():
    images = levels(50, 1, 4, 4)
    images[:, 0, 0, 0] = 0  # never on
    centred, grey = BernoulliLikelihood((1, 4, 4), centred=True), unit_interval(images)
    centred.start(images)

    mean = centred.mean(torch.zeros(1, 1, 4, 4))[0]
    torch.testing.assert_close(mean, grey.mean(0).clamp(min=0.001))
    params, x = normals(5, 3, 1, 4, 4), grey[:3].round()
    torch.testing.assert_close(centred.log_prob(params, x), BERNOULLI.log_prob(params + mean.logit(), x))


def test_a_training_begins_at_the_mean_of_its_training_images(compose):
    setup = Builder(compose("dataset=digits", "dataset.binarize=dynamic", "likelihood=bernoulli"), None).setup()

    mean = unit_interval(setup.dataset.train.images).mean(0)
    torch.testing.assert_close(setup.model.likelihood.offset.sigmoid(), mean.clamp(0.001, 0.999))

"""The Laplace likelihood."""

import pytest
import torch
from torch.distributions import Laplace

from helpers.combinations import levels, normals
from vaelab.likelihood.laplace import LaplaceLikelihood
from vaelab.ops import unit_interval
from vaelab.parts import DENSITY


@pytest.mark.parametrize("scale", [0.01, 0.1, 1, 5.0])
def test_log_prob_is_that_of_torch_distributions(scale):
    params, x = normals(5, 3, 2, 4, 6), unit_interval(levels(3, 2, 4, 6))
    expected = Laplace(params, scale).log_prob(x).sum((-3, -2, -1))
    torch.testing.assert_close(LaplaceLikelihood(scale).log_prob(params, x), expected)


def test_it_is_a_density_and_scores_no_binary_pixels():
    assert LaplaceLikelihood(1).out_channels(3) == 3
    assert LaplaceLikelihood(1).pixels == {"levels": DENSITY}

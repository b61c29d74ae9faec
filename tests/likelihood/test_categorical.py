"""The categorical likelihood."""

import torch
from torch.distributions import Categorical

from helpers.combinations import levels, normals
from vaelab.likelihood.categorical import CategoricalLikelihood
from vaelab.ops import unit_interval
from vaelab.parts import MASS


def test_log_prob_is_that_of_torch_distributions():
    params, x = normals(5, 3, 512, 4, 6), levels(3, 2, 4, 6)
    by_level = params.unflatten(2, (256, 2)).movedim(2, -1)
    expected = Categorical(logits=by_level).log_prob(x.long()).sum((-3, -2, -1))
    torch.testing.assert_close(CategoricalLikelihood().log_prob(params, unit_interval(x)), expected)


def test_it_is_a_mass_on_the_256_levels_only():
    assert CategoricalLikelihood().out_channels(3) == 768
    assert CategoricalLikelihood().pixels == {"levels": MASS}

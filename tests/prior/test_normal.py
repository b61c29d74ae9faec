"""The standard normal prior."""

import pytest

from vaelab.distributions import StandardNormal
from vaelab.prior.normal import NormalPrior


def test_it_is_standard_normal_without_a_parameter_or_a_look_at_posteriors():
    def infer(x):
        pytest.fail("it was called")

    assert NormalPrior()(infer) == StandardNormal()
    assert not NormalPrior().state_dict()

"""A constant learning rate."""

import pytest

from vaelab.scheduler.constant import Constant


@pytest.mark.parametrize("step", [0, 1, 99])
def test_the_factor_is_one_at_every_step(step):
    assert Constant()(step, 100) == 1.0

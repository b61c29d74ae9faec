"""The moving average of the weights."""

import pytest
import torch
from torch import nn

from vaelab.training.average import MovingAverage


def small():
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def changed(model, number):
    """Other weights and statistics, and one more batch counted."""
    noise = torch.Generator().manual_seed(number)
    for value in model.state_dict().values():
        value.copy_(torch.randn(value.shape, generator=noise) if value.is_floating_point() else value + 1)


def test_it_begins_with_the_first_weights_and_follows_its_definition():
    model = small()
    average = MovingAverage(model, 0.75)
    expected = None
    for number in range(5):
        changed(model, number)
        average.update()
        weights = {name: value.clone() for name, value in model.state_dict().items()}
        expected = expected or weights
        expected = {name: 0.75 * value + 0.25 * weights[name] for name, value in expected.items()}
        found = average.model.state_dict()
        if number == 0:
            assert all(torch.equal(found[name], value) for name, value in weights.items())
        for name, value in found.items():
            if value.is_floating_point():
                torch.testing.assert_close(value, expected[name])
            else:
                assert value == number + 1


def test_it_goes_on_to_the_last_bit_where_it_stood():
    model = small()
    whole, part = MovingAverage(model, 0.9), MovingAverage(model, 0.9)
    for number in range(6):
        changed(model, number)
        whole.update()
        if number == 3:
            kept = {name: value.clone() for name, value in part.state().items()}
            part = MovingAverage(model, 0.9)
            part.restore(kept)
        part.update()
    for name, value in whole.state().items():
        assert torch.equal(part.state()[name], value)


@pytest.mark.parametrize("updated", [False, True])
def test_one_that_is_switched_on_later_begins_with_the_weights(updated):
    model = small()
    average = MovingAverage(model, 0.9)
    changed(model, 1)
    average.restore(None)
    if updated:
        changed(model, 2)
        average.update()
    for name, value in model.state_dict().items():
        assert torch.equal(average.model.state_dict()[name], value)
    assert (average.state() is None) != updated

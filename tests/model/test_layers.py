"""What several networks share."""

import pytest
import torch

from vaelab.model.layers import ACTIVATIONS, activation_layer, check_widths


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_is_a_nonlinear_function_of_each_element(name):
    layer = activation_layer(name)
    x = torch.linspace(-2, 2, 9)
    torch.testing.assert_close(layer(x)[3], layer(x[3]))
    slopes = layer(x).diff()
    assert slopes.max() > slopes.min() + 0.1


def test_every_call_gives_a_layer_of_its_own():
    assert activation_layer("relu") is not activation_layer("relu")


def test_an_unknown_activation_names_the_nearest():
    with pytest.raises(ValueError, match=r"activation must be one of .*got 'rely'; did you mean 'relu'"):
        activation_layer("rely")


@pytest.mark.parametrize("widths", [[1], [400, 200], (3,)])
def test_widths_are_lists_of_positive_integers(widths):
    check_widths("hidden", widths)


@pytest.mark.parametrize("widths", [[], 400, "400", None, [0], [-1], [4.0], [None], [True]])
def test_other_widths_are_refused_by_name(widths):
    with pytest.raises(ValueError, match="hidden must be"):
        check_widths("hidden", widths)

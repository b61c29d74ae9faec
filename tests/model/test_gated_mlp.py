"""Gated layers: the equation, the sizes, refusals; what all networks share is in test_networks.py."""

import pytest
import torch
from torch import nn

from helpers.combinations import levels
from vaelab.model import gated_mlp
from vaelab.ops import unit_interval

SMALL = {"latent_dim": 3, "out_channels": 2, "hidden": [12, 8]}


def test_a_layer_is_a_linear_map_times_the_sigmoid_of_another():
    encoder, _ = gated_mlp.networks((1, 8, 8), **{**SMALL, "hidden": [12]})
    linear = next(layer for layer in encoder.modules() if isinstance(layer, nn.Linear))
    (w, v), (b, c) = linear.weight.chunk(2), linear.bias.chunk(2)
    x = unit_interval(levels(4, 1, 8, 8))
    flat = x.flatten(1)
    torch.testing.assert_close(encoder(x), (flat @ w.T + b) * torch.sigmoid(flat @ v.T + c))


def test_the_hidden_layers_of_the_decoder_mirror_the_encoders():
    encoder, decoder = gated_mlp.networks((1, 8, 8), **{**SMALL, "hidden": (30, 20)})
    sizes = [
        [(layer.in_features, layer.out_features) for layer in network.modules() if isinstance(layer, nn.Linear)]
        for network in (encoder, decoder)
    ]
    assert sizes == [[(64, 60), (30, 40)], [(3, 40), (20, 60), (30, 2 * 64)]]
    assert encoder.out_features == 20


@pytest.mark.parametrize("hidden", [[], 300, [300, 0]])
def test_other_sizes_are_refused_with_a_sentence(hidden):
    with pytest.raises(ValueError, match="hidden must be a list of at least one integer of at least 1"):
        gated_mlp.networks((1, 8, 8), **{**SMALL, "hidden": hidden})

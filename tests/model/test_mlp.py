"""Fully connected networks: shapes, depth, refusals."""

import pytest
import torch
from torch import nn

from helpers.combinations import IMAGE_SHAPES, levels, normals
from vaelab.model import mlp
from vaelab.ops import unit_interval

SMALL = {"latent_dim": 3, "out_channels": 2, "hidden": [12, 8], "activation": "relu"}


@pytest.mark.parametrize("out_channels", [1, 2, 7])
@pytest.mark.parametrize("image_shape", IMAGE_SHAPES, ids=str)
def test_encoder_and_decoder_fit_any_image(image_shape, out_channels):
    encoder, decoder = mlp.networks(image_shape, **{**SMALL, "out_channels": out_channels})
    _, height, width = image_shape
    assert encoder(torch.rand(4, *image_shape)).shape == (4, encoder.out_features)
    assert decoder(torch.randn(5, 3)).shape == (5, out_channels, height, width)


def test_the_hidden_layers_of_the_decoder_mirror_the_encoders():
    encoder, decoder = mlp.networks((1, 8, 8), **{**SMALL, "hidden": (30, 20, 10)})
    sizes = [
        [(layer.in_features, layer.out_features) for layer in network.modules() if isinstance(layer, nn.Linear)]
        for network in (encoder, decoder)
    ]
    assert sizes == [[(64, 30), (30, 20), (20, 10)], [(3, 10), (10, 20), (20, 30), (30, 2 * 64)]]
    assert encoder.out_features == 10


def test_the_decoder_does_not_end_in_an_activation():
    _, decoder = mlp.networks((1, 8, 8), **SMALL)
    assert decoder(10 * normals(50, 3)).min() < 0


def test_the_activation_is_the_one_asked_for():
    encoder, _ = mlp.networks((1, 8, 8), **{**SMALL, "activation": "tanh"})
    assert encoder(1000 * normals(50, 1, 8, 8)).abs().max() <= 1
    assert encoder(1000 * normals(50, 1, 8, 8)).min() < 0


def test_the_features_of_an_image_do_not_depend_on_its_batch():
    encoder, _ = mlp.networks((2, 9, 13), **SMALL)
    x = unit_interval(levels(6, 2, 9, 13))
    torch.testing.assert_close(encoder(x[3:4]), encoder(x)[3:4])


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"hidden": []}, r"hidden must be a list of at least one integer of at least 1, got \[\]"),
        ({"hidden": 400}, "hidden must be a list of at least one integer"),
        ({"hidden": [400, 0]}, "hidden must be a list of at least one integer of at least 1"),
        ({"activation": "gleu"}, "activation must be one of .*got 'gleu'; did you mean .*'gelu'"),
    ],
)
def test_a_setting_out_of_range_is_refused_with_a_sentence(setting, sentence):
    with pytest.raises(ValueError, match=sentence):
        mlp.networks((1, 8, 8), **{**SMALL, **setting})

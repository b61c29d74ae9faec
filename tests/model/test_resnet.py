"""Residual networks: any depth and resolution, the identity at first, refusals; see test_networks.py for the rest."""

import pytest
import torch

from helpers.combinations import levels, normals
from vaelab.model import resnet
from vaelab.model.blocks import Residual
from vaelab.ops import unit_interval

SMALL = {"latent_dim": 3, "out_channels": 2, "channels": [8, 12], "blocks": 1, "features": 12, "linear": False}


@pytest.mark.parametrize("channels", [[8], [4, 5], [8, 12, 16, 16]], ids=str)
@pytest.mark.parametrize(("blocks", "linear"), [(1, True), (3, False)])
@pytest.mark.parametrize("image_shape", [(1, 8, 8), (3, 5, 31), (1, 28, 28)], ids=str)
def test_encoder_and_decoder_fit_any_image(image_shape, channels, blocks, linear):
    setting = {**SMALL, "out_channels": 4, "channels": channels, "blocks": blocks, "linear": linear}
    encoder, decoder = resnet.networks(image_shape, **setting)
    assert encoder(torch.rand(2, *image_shape)).shape == (2, 24 if linear else 12)
    assert decoder(torch.randn(3, 3)).shape == (3, 4, *image_shape[1:])
    blocks_found = [sum(isinstance(module, Residual) for module in net.modules()) for net in (encoder, decoder)]
    assert blocks_found == [blocks * len(channels)] * 2


def test_a_block_is_the_identity_at_first_and_then_adds_a_branch():
    block, h = Residual(8, 4), normals(2, 8, 5, 5)
    assert torch.equal(block(h), h)
    torch.nn.init.normal_(block.branch[1][-1].weight)
    assert (block(h) - h).std() > 0.1


def test_the_linear_paths_are_linear_and_reach_the_means_only():
    encoder, decoder = resnet.networks((3, 9, 13), **{**SMALL, "out_channels": 6, "linear": True})
    x, y = unit_interval(levels(2, 3, 9, 13)).unsqueeze(1)
    same = torch.isclose(encoder((x + y) / 2), (encoder(x) + encoder(y)) / 2, atol=1e-5)[0]
    assert same.tolist() == [False] * 12 + [True] * 12
    torch.nn.init.normal_(decoder.linear.weight)
    z = normals(2, 3)
    added = decoder(z) - decoder.decoder(z)
    assert added[:, :3].abs().min() > 0
    assert not added[:, 3:].any()


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"channels": []}, "channels must be a list of at least one integer of at least 4"),
        ({"channels": [8, 3]}, "channels must be a list of at least one integer of at least 4"),
        ({"channels": [8] * 6}, r"channels must be of at most 5 resolutions, .* where the first is of 9 x 13, got 6"),
        ({"blocks": 0}, "blocks must be an integer of at least 1, got 0"),
        ({"features": 0}, "features must be an integer of at least 1, got 0"),
        ({"linear": 1}, "linear must be true or false, got 1"),
    ],
)
def test_a_setting_out_of_range_is_refused_with_a_sentence(setting, sentence):
    with pytest.raises(ValueError, match=sentence):
        resnet.networks((1, 9, 13), **{**SMALL, **setting})


def test_as_many_resolutions_as_the_image_has_are_accepted():
    encoder, decoder = resnet.networks((1, 9, 13), **{**SMALL, "channels": [8] * 5})
    assert decoder(encoder(torch.rand(2, 1, 9, 13))[:, :3]).shape == (2, 2, 9, 13)

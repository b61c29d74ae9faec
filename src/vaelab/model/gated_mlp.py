"""Fully connected networks of gated layers, as the VampPrior's paper has them."""

from collections.abc import Sequence

from torch import nn

from vaelab.model.layers import check_widths
from vaelab.model.mlp import Decoder, Encoder


def networks(
    image_shape: tuple[int, int, int], latent_dim: int, out_channels: int, hidden: Sequence[int]
) -> tuple[Encoder, Decoder]:
    """An MLP encoder and decoder of gated layers, h = (W x + b) * sigmoid(V x + c), mirrored.

    Tomczak & Welling, 2018 (arXiv:1705.07120), after the gated linear units of Dauphin et al., 2017 (arXiv:1612.08083).

    Args:
        image_shape: (C, H, W).
        latent_dim: D.
        out_channels: M, the channels of likelihood parameters.
        hidden: sizes of the encoder's hidden layers from the image to the latent; the decoder's run back.

    Raises:
        ValueError: if `hidden` is empty or not of positive integers.

    Examples:
        >>> encoder, decoder = networks((1, 28, 28), latent_dim=40, out_channels=1, hidden=[300, 300])
        >>> h = encoder(torch.rand(4, 1, 28, 28))  # (4, 300)
        >>> params = decoder(torch.randn(4, 40))  # (4, 1, 28, 28)
    """
    check_widths("hidden", hidden)
    encoder = Encoder(image_shape, hidden, gated_layer)
    return encoder, Decoder(image_shape, latent_dim, out_channels, hidden[::-1], gated_layer)


def gated_layer(in_features: int, width: int) -> list[nn.Module]:
    """(N, in_features) -> (N, width); W and V stand above each other in one matrix, which is one product."""
    return [nn.Linear(in_features, 2 * width), nn.GLU()]

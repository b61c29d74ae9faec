"""Residual convolutional networks: pre-activation blocks at each resolution (He et al., 2016, arXiv:1603.05027).

Pixels are centred, norms are of groups, and a linear path runs beside each network, for the reasons given in
`vaelab.model.conv`.
"""

import math
from collections.abc import Sequence

from torch import nn

from vaelab.errors import check_integer
from vaelab.model.blocks import (
    Encoder,
    LinearPath,
    Residual,
    Size,
    Up,
    activated,
    check_resolutions,
    conv,
    group_norm,
    sizes_of,
)


def networks(
    image_shape: tuple[int, int, int],
    latent_dim: int,
    out_channels: int,
    channels: Sequence[int],
    blocks: int,
    features: int,
    linear: bool,
) -> tuple[Encoder, nn.Module]:
    """A residual convolutional encoder and decoder for images of any number of channels and any size.

    Args:
        image_shape: (C, H, W).
        latent_dim: D.
        out_channels: M, the channels of likelihood parameters.
        channels: channels at the image's own resolution and after each halving, which rounds up; the decoder's run
            back.
        blocks: residual blocks at each resolution, of encoder and of decoder.
        features: size of the layer between the convolutions and the latent.
        linear: whether the linear paths are there: from the pixels to as many features more, and from z to the first C
            channels of the likelihood's parameters, which are the means of all but `categorical`.

    Raises:
        ValueError: if a size is not a positive integer, the image is too small for that many halvings, or `linear` is
            not true or false.

    Examples:
        >>> encoder, decoder = networks((3, 32, 32), 64, 6, channels=[16, 32], blocks=1, features=128, linear=True)
        >>> h = encoder(torch.rand(4, 3, 32, 32))  # (4, 256)
        >>> params = decoder(torch.randn(4, 64))  # (4, 6, 32, 32)
    """
    check_resolutions(image_shape, channels)
    check_integer("blocks", blocks, 1)
    check_integer("features", features, 1)
    sizes = sizes_of(image_shape, len(channels))
    layers = _layers(image_shape[0], channels, sizes[-1], blocks, features)
    encoder = Encoder(layers, image_shape, features, linear)
    decoder = _decoder(latent_dim, out_channels, channels[::-1], sizes[::-1], blocks, features)
    return encoder, LinearPath(decoder, latent_dim, image_shape) if linear else decoder


def _layers(image_channels: int, channels: Sequence[int], last_size: Size, blocks: int, features: int) -> nn.Sequential:
    """The convolutions and blocks of the encoder, from the image to its features."""
    layers: list[nn.Module] = []
    for i, width in enumerate(channels):
        layers.append(conv(channels[i - 1], width, stride=2) if i else conv(image_channels, width))
        layers += [Residual(width, width) for _ in range(blocks)]
    flat = channels[-1] * math.prod(last_size)
    last = [group_norm(channels[-1]), nn.SiLU(), nn.Flatten(), nn.Linear(flat, features), nn.SiLU()]
    return nn.Sequential(*layers, *last)


def _decoder(
    latent_dim: int, out_channels: int, channels: Sequence[int], sizes: Sequence[Size], blocks: int, features: int
) -> nn.Sequential:
    """z (N, D) -> likelihood parameters (N, M, H, W); channels and sizes from the smallest resolution up."""
    first_shape = (channels[0], *sizes[0])
    layers: list[nn.Module] = [
        nn.Linear(latent_dim, features),
        nn.SiLU(),
        nn.Linear(features, math.prod(first_shape)),
        nn.Unflatten(1, first_shape),
    ]
    for i, (width, size) in enumerate(zip(channels, sizes, strict=True)):
        layers += [Up(channels[i - 1], width, size)] if i else []
        layers += [Residual(width, width) for _ in range(blocks)]
    return nn.Sequential(*layers, activated(channels[-1], out_channels))

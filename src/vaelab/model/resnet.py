"""Residual convolutional networks: pre-activation blocks at each resolution (He et al., 2016, arXiv:1603.05027).

Pixels are centred, norms are of groups, and a linear path runs beside each network, for the reasons given in
`vaelab.model.conv`.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vaelab.errors import ArgumentError, check_integer
from vaelab.model.blocks import LinearPath, Residual, Size, Up, activated, check_resolutions, conv, group_norm, sizes_of


def networks(
    image_shape: tuple[int, int, int],
    latent_dim: int,
    out_channels: int,
    channels: Sequence[int],
    blocks: int,
    features: int,
    linear: bool,
) -> tuple["Encoder", nn.Module]:
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
    if not isinstance(linear, bool):
        raise ArgumentError("linear", f"must be true or false, got {linear!r}")
    sizes = sizes_of(image_shape, len(channels))
    encoder = Encoder(image_shape, channels, sizes[-1], blocks, features, linear)
    decoder = _decoder(latent_dim, out_channels, channels[::-1], sizes[::-1], blocks, features)
    return encoder, LinearPath(decoder, latent_dim, image_shape) if linear else decoder


class Encoder(nn.Module):
    """x (B, C, H, W) -> h (B, F)."""

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        channels: Sequence[int],
        last_size: Size,
        blocks: int,
        features: int,
        linear: bool,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i, width in enumerate(channels):
            layers.append(conv(channels[i - 1], width, stride=2) if i else conv(image_shape[0], width))
            layers += [Residual(width, width) for _ in range(blocks)]
        flat = channels[-1] * math.prod(last_size)
        last = [group_norm(channels[-1]), nn.SiLU(), nn.Flatten(), nn.Linear(flat, features), nn.SiLU()]
        self.layers = nn.Sequential(*layers, *last)
        self.linear = nn.Linear(math.prod(image_shape), features) if linear else None
        self.out_features = 2 * features if linear else features

    def forward(self, x: Tensor) -> Tensor:
        """Features of the images, (B, C, H, W) -> (B, F)."""
        centred = 2 * x - 1
        h = self.layers(centred)
        return h if self.linear is None else torch.cat([h, self.linear(centred.flatten(1))], dim=1)


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

"""Convolutional networks: strided convolutions down, transposed ones up (Radford et al., 2016), with group norm.

Beside each network runs a linear path: what a linear VAE, which is probabilistic PCA (Lucas et al., 2019,
arXiv:1911.02469), can say of the images is learned within an epoch, and the convolutions add to it. Pixels are centred:
from 0 up they train slower and less stably. Group normalisation (Wu & He, 2018, arXiv:1803.08494) treats every image
alone, so that the ELBO of an image does not depend on its batch.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from vaelab.errors import ArgumentError, check_integer
from vaelab.model.blocks import Encoder, LinearPath, group_norm
from vaelab.model.layers import activation_layer, check_widths


def networks(
    image_shape: tuple[int, int, int],
    latent_dim: int,
    out_channels: int,
    channels: Sequence[int],
    features: int,
    activation: str,
    linear: bool,
) -> tuple[Encoder, nn.Module]:
    """A convolutional encoder and decoder for images of any number of channels and any size from 8 x 8 up.

    Args:
        image_shape: (C, H, W).
        latent_dim: D.
        out_channels: M, the channels of likelihood parameters.
        channels: channels after each halving of the image, from the image inwards; the decoder's run back.
        features: size of the layer between the convolutions and the latent.
        activation: the name of a `torch.nn` activation, such as `relu`, `gelu`, `silu`.
        linear: whether the linear paths are there: from the pixels to as many features more, and from z to the first C
            channels of the likelihood's parameters, which are the means of all but `categorical`.

    Raises:
        ValueError: if a size is not a positive integer, the image is too small for that many halvings, or `linear` is
            not true or false.
    """
    check_widths("channels", channels, minimum=2)
    check_integer("features", features, 1)
    sizes = [tuple(image_shape[1:])]  # (H, W) after each halving
    for _ in channels:
        sizes.append((sizes[-1][0] // 2, sizes[-1][1] // 2))
    if min(image_shape[1:]) < 8 or min(sizes[-1]) < 1:
        raise ArgumentError(
            "channels",
            f"must be at most {int(math.log2(min(image_shape[1:])))} for images of {image_shape[1]} x "
            f"{image_shape[2]}, each of which halves them, and images at least 8 x 8, got {len(channels)}; choose "
            f"larger images, or fewer",
        )
    layers = _layers([image_shape[0], *channels], sizes[-1], features, activation)
    encoder = Encoder(layers, image_shape, features, linear)
    decoder = Decoder([*channels[::-1], out_channels], sizes[::-1], latent_dim, features, activation)
    return encoder, LinearPath(decoder, latent_dim, image_shape) if linear else decoder


def _layers(channels: Sequence[int], last_size: tuple[int, ...], features: int, activation: str) -> nn.Sequential:
    """The convolutions of the encoder, from an image with the first number of channels to its features."""
    layers: list[nn.Module] = []
    for before, after in pairwise(channels):
        down = nn.Conv2d(before, after, 4, stride=2, padding=1)
        layers += [down, group_norm(after), activation_layer(activation)]
    flat = channels[-1] * math.prod(last_size)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(flat, features), activation_layer(activation))


class Decoder(nn.Module):
    """z (N, D) -> likelihood parameters (N, M, H, W)."""

    def __init__(
        self,
        channels: Sequence[int],
        sizes: Sequence[tuple[int, ...]],
        latent_dim: int,
        features: int,
        activation: str,
    ) -> None:
        super().__init__()
        first_shape = (channels[0], *sizes[0])
        layers: list[nn.Module] = [
            nn.Linear(latent_dim, features),
            activation_layer(activation),
            nn.Linear(features, math.prod(first_shape)),
            nn.Unflatten(1, first_shape),
        ]
        for i in range(len(channels) - 1):
            # A transposed convolution doubles; where the encoder halved an odd size, it must give one more.
            odd = tuple(after - 2 * before for before, after in zip(sizes[i], sizes[i + 1], strict=True))
            up = nn.ConvTranspose2d(channels[i], channels[i + 1], 4, stride=2, padding=1, output_padding=odd)
            layers += [group_norm(channels[i]), activation_layer(activation), up]
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        """Likelihood parameters, (N, D) -> (N, M, H, W)."""
        return self.layers(z)

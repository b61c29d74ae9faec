"""Fully connected networks, as in the first VAE paper (Kingma & Welling, 2014, appendix C)."""

import math
from collections.abc import Callable, Sequence

from torch import Tensor, nn

from vaelab.model.layers import activation_layer, check_widths

Layer = Callable[[int, int], list[nn.Module]]  # from in_features and width to the modules of a hidden layer


def networks(
    image_shape: tuple[int, int, int],
    latent_dim: int,
    out_channels: int,
    hidden: Sequence[int],
    activation: str,
) -> tuple["Encoder", "Decoder"]:
    """An MLP encoder and decoder with hidden layers of the same sizes, mirrored.

    Args:
        image_shape: (C, H, W).
        latent_dim: D.
        out_channels: M, the channels of likelihood parameters.
        hidden: sizes of the encoder's hidden layers from the image to the latent; the decoder's run back.
        activation: the name of a `torch.nn` activation, such as `relu`, `gelu`, `silu`, `tanh`.

    Raises:
        ValueError: if `hidden` is empty or not of positive integers, or the activation is unknown.
    """
    check_widths("hidden", hidden)

    def layer(in_features: int, width: int) -> list[nn.Module]:
        return [nn.Linear(in_features, width), activation_layer(activation)]

    encoder = Encoder(image_shape, hidden, layer)
    return encoder, Decoder(image_shape, latent_dim, out_channels, hidden[::-1], layer)


class Encoder(nn.Module):
    """x (B, C, H, W) -> h (B, hidden[-1])."""

    def __init__(self, image_shape: tuple[int, int, int], hidden: Sequence[int], layer: Layer) -> None:
        super().__init__()
        self.out_features = hidden[-1]
        self.layers = nn.Sequential(nn.Flatten(), *_hidden_layers(math.prod(image_shape), hidden, layer))

    def forward(self, x: Tensor) -> Tensor:
        """Features of the images, (B, C, H, W) -> (B, F)."""
        return self.layers(x)


class Decoder(nn.Module):
    """z (N, D) -> likelihood parameters (N, M, H, W)."""

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latent_dim: int,
        out_channels: int,
        hidden: Sequence[int],
        layer: Layer,
    ) -> None:
        super().__init__()
        _, height, width = image_shape
        out_shape = (out_channels, height, width)
        self.layers = nn.Sequential(
            *_hidden_layers(latent_dim, hidden, layer),
            nn.Linear(hidden[-1], math.prod(out_shape)),
            nn.Unflatten(1, out_shape),
        )

    def forward(self, z: Tensor) -> Tensor:
        """Likelihood parameters, (N, D) -> (N, M, H, W)."""
        return self.layers(z)


def _hidden_layers(in_features: int, widths: Sequence[int], layer: Layer) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for width in widths:
        layers += layer(in_features, width)
        in_features = width
    return layers

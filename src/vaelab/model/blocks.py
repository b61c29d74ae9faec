"""What convolutional networks share: norms, residual blocks, changes of resolution, a linear path to the means."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vaelab.errors import ArgumentError
from vaelab.model.layers import check_widths

Size = tuple[int, int]


def group_norm(channels: int) -> nn.GroupNorm:
    """Group normalisation (Wu & He, 2018, arXiv:1803.08494), of every image alone."""
    # groups of at least four channels: where the image is down to 1 x 1, a group of one would always be 0
    return nn.GroupNorm(math.gcd(8, channels // 4) if channels % 4 == 0 else 1, channels)


def conv(before: int, after: int, kernel: int = 3, stride: int = 1, scale: float = 1.0) -> nn.Conv2d:
    """A convolution that keeps the size, or divides it by the stride and rounds up; its first weights times `scale`."""
    made = nn.Conv2d(before, after, kernel, stride, padding=kernel // 2)
    if scale != 1:
        with torch.no_grad():
            made.weight.mul_(scale)
            made.bias.zero_()
    return made


def activated(before: int, after: int, scale: float = 1.0) -> nn.Sequential:
    """Group norm, SiLU and a 3 x 3 convolution: pre-activation (He et al., 2016, arXiv:1603.05027)."""
    return nn.Sequential(group_norm(before), nn.SiLU(), conv(before, after, scale=scale))


def branch(before: int, hidden: int, after: int, scale: float) -> nn.Sequential:
    """Two pre-activated convolutions, the weights of the second times `scale` at first."""
    return nn.Sequential(activated(before, hidden), activated(hidden, after, scale))


class Residual(nn.Module):
    """h + f(h), (N, C, H, W) -> (N, C, H, W), where f is two pre-activated convolutions and 0 at first."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.branch = branch(channels, hidden, channels, scale=0.0)

    def forward(self, h: Tensor) -> Tensor:
        """The features and what the branch adds."""
        return h + self.branch(h)


class Up(nn.Module):
    """Nearest upsampling to `size`, (N, C, h, w) -> (N, C', H, W), twice as large or, where H or W is odd, one less.

    The 1 x 1 convolution comes first, where it has a quarter of the work.
    """

    def __init__(self, before: int, after: int, size: Size) -> None:
        super().__init__()
        self.conv = conv(before, after, kernel=1)
        self.size = size

    def forward(self, h: Tensor) -> Tensor:
        """The features at the next larger resolution."""
        return nn.functional.interpolate(self.conv(h), self.size)


class Encoder(nn.Module):
    """x (B, C, H, W) -> h (B, F), by layers that give F features of centred pixels.

    Beside them may run a linear path from the pixels to as many features more; ValueError if `linear` is not true or
    false.
    """

    def __init__(self, layers: nn.Sequential, image_shape: tuple[int, int, int], features: int, linear: bool) -> None:
        super().__init__()
        if not isinstance(linear, bool):
            raise ArgumentError("linear", f"must be true or false, got {linear!r}")
        self.layers = layers
        self.linear = nn.Linear(math.prod(image_shape), features) if linear else None
        self.out_features = 2 * features if linear else features

    def forward(self, x: Tensor) -> Tensor:
        """Features of the images, (B, C, H, W) -> (B, F)."""
        centred = 2 * x - 1
        h = self.layers(centred)
        return h if self.linear is None else torch.cat([h, self.linear(centred.flatten(1))], dim=1)


class LinearPath(nn.Module):
    """A decoder, and a linear map of z added to the first C channels of what it gives, most likelihoods' means."""

    def __init__(self, decoder: nn.Module, latent_dim: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.decoder = decoder
        self.linear = nn.Linear(latent_dim, math.prod(image_shape), bias=False)
        nn.init.zeros_(self.linear.weight)  # z is noise at first, which the pixels are not to begin with
        self.image_shape = image_shape

    def forward(self, z: Tensor) -> Tensor:
        """Likelihood parameters, (N, D) -> (N, M, H, W)."""
        params = self.decoder(z)
        means = self.linear(z).unflatten(1, self.image_shape)  # (N, C * H * W) -> (N, C, H, W)
        others = params.shape[1] - means.shape[1]
        return params + nn.functional.pad(means, (0, 0, 0, 0, 0, others))


def sizes_of(image_shape: tuple[int, int, int], resolutions: int) -> list[Size]:
    """(H, W) of the image and after each halving, which rounds up."""
    _, height, width = image_shape
    return [(-(-height // 2**i), -(-width // 2**i)) for i in range(resolutions)]


def check_resolutions(image_shape: tuple[int, int, int], channels: Sequence[int]) -> None:
    """Raise ArgumentError unless `channels` are numbers of channels of resolutions that the image has."""
    check_widths("channels", channels, minimum=4)
    most = 1 + math.ceil(math.log2(max(image_shape[1:])))
    if len(channels) > most:
        raise ArgumentError(
            "channels",
            f"must be of at most {most} resolutions, the last of 1 x 1, where the first is of {image_shape[1]} x "
            f"{image_shape[2]}, got {len(channels)}",
        )

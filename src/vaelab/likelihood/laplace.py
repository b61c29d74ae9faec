"""The Laplace likelihood with one scale for all pixels."""

import math
from types import MappingProxyType

import torch
from torch import Tensor, nn

from vaelab.likelihood.positive import MIN_LOG_SCALE, MIN_SCALE, log_positive, register_positive
from vaelab.ops import uniform_like
from vaelab.parts import DENSITY


class LaplaceLikelihood(nn.Module):
    """p(x|z) = exp(-|x - centre| / scale) / (2 scale), the likelihood of absolute errors, for x in [0, 1].

    Args:
        scale: of all pixels, the mean absolute error: a number, or `learned`: one parameter, starting near 1 and kept
            from exp(-6) up by a soft bound, for a density on 256 levels has no upper bound.

    Raises:
        ValueError: if the scale is neither a number from 1e-6 up nor `learned`.

    Examples:
        >>> likelihood = LaplaceLikelihood("learned")
        >>> log_px = likelihood.log_prob(torch.zeros(2, 4, 3, 8, 8), torch.rand(4, 3, 8, 8))  # (2, 4)
    """

    pixels = MappingProxyType({"levels": DENSITY})

    def __init__(self, scale: float | str) -> None:
        super().__init__()
        register_positive(self, "scale", scale, MIN_SCALE)

    @property
    def log_scale(self) -> Tensor:
        """log of the scale, ()."""
        return log_positive(self, "scale", MIN_LOG_SCALE)

    def out_channels(self, channels: int) -> int:
        """One for each channel of the image."""
        return channels

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        """Log density summed over pixels, (K, B, C, H, W) and (B, C, H, W) -> (K, B)."""
        log_scale = self.log_scale
        absolute = (x - params).abs().flatten(2).sum(-1)  # (K, B)
        return -absolute * torch.exp(-log_scale) - x[0].numel() * (log_scale + math.log(2))

    def mean(self, params: Tensor) -> Tensor:
        """The centre, cut to [0, 1], (N, C, H, W)."""
        return params.clamp(0, 1)

    def sample(self, params: Tensor, noise: torch.Generator) -> Tensor:
        """A draw, not cut to [0, 1], (N, C, H, W): the difference of two exponential variables."""
        above, below = (-torch.log1p(-uniform_like(params, noise)) for _ in range(2))
        return params + self.log_scale.exp() * (above - below)

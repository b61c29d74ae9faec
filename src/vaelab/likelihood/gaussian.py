"""The Gaussian likelihood with one sigma for all pixels."""

import math
from types import MappingProxyType

import torch
from torch import Tensor, nn

from vaelab.errors import ArgumentError, check_number
from vaelab.ops import normal
from vaelab.parts import DENSITY

MIN_LOG_SIGMA = -6.0  # of a learned sigma
MIN_SIGMA = 1e-6  # of a fixed one: far below the 1 / 255 between two levels, far above what overflows


class GaussianLikelihood(nn.Module):
    """p(x|z) = N(x; mean, sigma²) for x in [0, 1].

    Args:
        sigma: the standard deviation of a pixel, or `learned`: one parameter for all pixels, starting near 1
            and kept from exp(-6) up by a soft bound, for a density on 256 levels has no upper bound (sigma-VAE, Rybkin
            et al., 2021).

    Raises:
        ValueError: if sigma is neither a number from 1e-6 up nor `learned`.
    """

    pixels = MappingProxyType({"levels": DENSITY})

    def __init__(self, sigma: float | str) -> None:
        super().__init__()
        if sigma == "learned":
            self.raw_log_sigma = nn.Parameter(torch.zeros(()))
        else:
            if isinstance(sigma, str):
                raise ArgumentError("sigma", f"must be a positive number or 'learned', got {sigma!r}")
            check_number("sigma", sigma, MIN_SIGMA)
            self.register_buffer("fixed_log_sigma", torch.tensor(math.log(sigma)))

    @property
    def log_sigma(self) -> Tensor:
        """log of the standard deviation, ()."""
        if hasattr(self, "fixed_log_sigma"):
            return self.fixed_log_sigma
        return MIN_LOG_SIGMA + nn.functional.softplus(self.raw_log_sigma - MIN_LOG_SIGMA)

    def out_channels(self, channels: int) -> int:
        """One for each channel of the image."""
        return channels

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        """Log density summed over pixels, (K, B, C, H, W) and (B, C, H, W) -> (K, B)."""
        log_sigma = self.log_sigma
        squared = (x - params).square().flatten(2).sum(-1)  # (K, B)
        dims = x[0].numel()
        return -0.5 * squared * torch.exp(-2 * log_sigma) - dims * (log_sigma + 0.5 * math.log(2 * math.pi))

    def mean(self, params: Tensor) -> Tensor:
        """The mean, cut to [0, 1], (N, C, H, W)."""
        return params.clamp(0, 1)

    def sample(self, params: Tensor, noise: torch.Generator) -> Tensor:
        """A draw, not cut to [0, 1], (N, C, H, W)."""
        return params + self.log_sigma.exp() * normal(params.shape, noise, params.device)

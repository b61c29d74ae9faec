"""The discretized logistic likelihood on 256 levels."""

from types import MappingProxyType

import torch
from torch import Tensor, nn

from vaelab.likelihood.discretized_logistic import draw, expectation, log_mass
from vaelab.ops import uniform_like
from vaelab.parts import MASS


class LogisticLikelihood(nn.Module):
    """Each pixel's level k of 0..255 has the mass that a logistic distribution puts on its bin.

    On [-1, 1] level k is the bin of width 2 / 255 around 2 k / 255 - 1; the first and the last bin take the tails, so
    that the 256 masses sum to one (Kingma et al., 2016, appendix; Salimans et al., 2017).

    Examples:
        >>> likelihood = LogisticLikelihood()
        >>> log_px = likelihood.log_prob(torch.zeros(2, 4, 6, 8, 8), torch.zeros(4, 3, 8, 8))  # (2, 4)
    """

    pixels = MappingProxyType({"levels": MASS})

    def out_channels(self, channels: int) -> int:
        """Two for each channel of the image: mean and log scale."""
        return 2 * channels

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        """Log mass summed over pixels, (K, B, 2C, H, W) and (B, C, H, W) -> (K, B)."""
        mean, log_scale = params.chunk(2, dim=-3)  # (K, B, 2C, H, W) -> 2 x (K, B, C, H, W)
        return log_mass(x, mean, log_scale).flatten(2).sum(-1)

    def mean(self, params: Tensor) -> Tensor:
        """E[x|z], (N, C, H, W), up to half a level: that of the logistic cut to [0, 1], whose centre it is if sharp."""
        return 0.5 * expectation(*params.chunk(2, dim=-3)) + 0.5

    def sample(self, params: Tensor, noise: torch.Generator) -> Tensor:
        """One of the 256 levels k / 255, (N, C, H, W)."""
        mean, log_scale = params.chunk(2, dim=-3)
        return draw(mean, log_scale, uniform_like(mean, noise))

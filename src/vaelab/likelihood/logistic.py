"""The discretized logistic likelihood on 256 levels."""

from types import MappingProxyType

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from vaelab.ops import uniform_like
from vaelab.parts import MASS

LEVELS = 256
MIN_LOG_SCALE, MAX_LOG_SCALE = -7.0, 20.0


class LogisticLikelihood(nn.Module):
    """Each pixel's level k of 0..255 has the mass that a logistic distribution puts on its bin.

    On [-1, 1] level k is the bin of width 2 / 255 around 2 k / 255 - 1; the first and the last bin take the tails, so
    that the 256 masses sum to one (Kingma et al., 2016, appendix; Salimans et al., 2017).
    """

    pixels = MappingProxyType({"levels": MASS})

    def out_channels(self, channels: int) -> int:
        """Two for each channel of the image: mean and log scale."""
        return 2 * channels

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        """Log mass summed over pixels, (K, B, 2C, H, W) and (B, C, H, W) -> (K, B)."""
        mean, log_scale = params.chunk(2, dim=-3)  # (K, B, 2C, H, W) -> 2 x (K, B, C, H, W)
        inverse_scale = torch.exp(-log_scale.clamp(MIN_LOG_SCALE, MAX_LOG_SCALE))
        half_bin = 1 / (LEVELS - 1)
        centred = 2 * x - 1 - mean
        upper = inverse_scale * (centred + half_bin)
        lower = inverse_scale * (centred - half_bin)
        # sigmoid(u) - sigmoid(l) = sigmoid(u) * sigmoid(-l) * (1 - exp(l - u)), exact however far out the bin lies
        first, last = x < half_bin / 2, x > 1 - half_bin / 2
        log_below = F.logsigmoid(upper).masked_fill(last, 0.0)
        log_above = F.logsigmoid(-lower).masked_fill(first, 0.0)
        log_width = torch.log(-torch.expm1(-2 * half_bin * inverse_scale)).masked_fill(first | last, 0.0)
        return (log_below + log_above + log_width).flatten(2).sum(-1)

    def mean(self, params: Tensor) -> Tensor:
        """The centre of the logistic, cut to [0, 1], (N, C, H, W)."""
        mean, _ = params.chunk(2, dim=-3)
        return (0.5 * mean + 0.5).clamp(0, 1)

    def sample(self, params: Tensor, noise: torch.Generator) -> Tensor:
        """One of the 256 levels k / 255, (N, C, H, W)."""
        mean, log_scale = params.chunk(2, dim=-3)
        uniform = uniform_like(mean, noise).clamp(1e-6, 1 - 1e-6)
        value = mean + log_scale.clamp(MIN_LOG_SCALE, MAX_LOG_SCALE).exp() * torch.logit(uniform)
        return (value * 0.5 + 0.5).clamp(0, 1).mul(LEVELS - 1).round().div(LEVELS - 1)

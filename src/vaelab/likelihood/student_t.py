"""The Student-t likelihood with one scale and one number of degrees of freedom for all pixels."""

import math
from types import MappingProxyType

import torch
from torch import Tensor, nn

from vaelab.likelihood.positive import MIN_LOG_SCALE, MIN_SCALE, log_positive, register_positive
from vaelab.ops import uniform_like
from vaelab.parts import DENSITY

MIN_DF = 1.0
SHIFT = 8  # at which three terms of Stirling's series are exact in float32


class StudentTLikelihood(nn.Module):
    """p(x|z) = t(x; centre, scale, df), whose heavy tails forgive a pixel far off, for x in [0, 1].

    log t = log Γ((df + 1) / 2) - log Γ(df / 2) - log(df π) / 2 - log scale - (df + 1) / 2 log(1 + ((x - centre) /
    scale)² / df), in nats (for VAEs Takahashi et al., 2018, IJCAI).

    Args:
        df: degrees of freedom: a number, or `learned`: one parameter, starting at 2 and above 1. With 1 this is the
            Cauchy density, which has no mean; towards infinity it is the Gaussian one.
        scale: of all pixels: a number, or `learned`: one parameter, starting near 1 and kept from exp(-6) up by a soft
            bound, for a density on 256 levels has no upper bound.

    Raises:
        ValueError: if df is neither a number from 1 up nor `learned`, or the scale no such number from 1e-6 up.

    Examples:
        >>> likelihood = StudentTLikelihood("learned", "learned")
        >>> log_px = likelihood.log_prob(torch.zeros(2, 4, 3, 8, 8), torch.rand(4, 3, 8, 8))  # (2, 4)
    """

    pixels = MappingProxyType({"levels": DENSITY})

    def __init__(self, df: float | str, scale: float | str) -> None:
        super().__init__()
        register_positive(self, "df", df, MIN_DF)
        register_positive(self, "scale", scale, MIN_SCALE)

    @property
    def df(self) -> Tensor:
        """Degrees of freedom, ()."""
        return log_positive(self, "df", math.log(MIN_DF)).exp()

    @property
    def log_scale(self) -> Tensor:
        """log of the scale, ()."""
        return log_positive(self, "scale", MIN_LOG_SCALE)

    def out_channels(self, channels: int) -> int:
        """One for each channel of the image."""
        return channels

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        """Log density summed over pixels, (K, B, C, H, W) and (B, C, H, W) -> (K, B)."""
        df, log_scale = self.df, self.log_scale
        squared = ((x - params) * torch.exp(-log_scale)).square()
        tails = torch.log1p(squared / df).flatten(2).sum(-1)  # (K, B)
        log_peak = log_gamma_ratio(0.5 * df) - 0.5 * torch.log(math.pi * df) - log_scale
        return x[0].numel() * log_peak - 0.5 * (df + 1) * tails

    def mean(self, params: Tensor) -> Tensor:
        """The centre, the median for df = 1, cut to [0, 1], (N, C, H, W)."""
        return params.clamp(0, 1)

    def sample(self, params: Tensor, noise: torch.Generator) -> Tensor:
        """A draw, not cut to [0, 1], (N, C, H, W), from two uniform numbers (Bailey, 1994)."""
        df = self.df
        log_uniform = torch.log1p(-uniform_like(params, noise))
        radius = torch.sqrt(df * torch.expm1(-2 / df * log_uniform))
        return params + self.log_scale.exp() * radius * torch.cos(2 * math.pi * uniform_like(params, noise))


def log_gamma_ratio(v: Tensor) -> Tensor:
    """log Γ(v + 1/2) - log Γ(v) for v > 0 (); the difference of the two loses its digits where v is large.

    By Γ(v + 1) = v Γ(v) it is that of a larger v, of which Stirling's series gives it, less a few logs of ratios.
    """
    larger = v + SHIFT
    series = 0.5 * larger.log() - 1 / (8 * larger) + 1 / (192 * larger**3)
    return series - torch.log1p(0.5 / (v + torch.arange(SHIFT, device=v.device))).sum()

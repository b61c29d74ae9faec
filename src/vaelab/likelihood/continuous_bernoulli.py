"""The continuous Bernoulli likelihood on [0, 1]."""

from types import MappingProxyType

import torch
from torch import Tensor, nn

from vaelab.ops import uniform_like
from vaelab.parts import DENSITY

NEAR_ZERO = 0.25  # of half a logit: below, the first three terms of a series are exact in float32
SMALLEST_LOGIT = 1e-6  # of a sample: the uniform density, up to float32


class ContinuousBernoulliLikelihood(nn.Module):
    """p(x|z) = C(λ) λ^x (1 - λ)^(1 - x), the density on [0, 1] that the Bernoulli's formula needs to be one.

    With λ = sigmoid(l) it is exp(l (x - 1/2)) (l/2) / sinh(l/2), in nats: its log is that of the Bernoulli's formula
    plus log C(λ) = log(l / tanh(l/2)), which is log 2 at l = 0. Unlike λ its mean is 1/2 + (coth(l/2) - 2/l) / 2
    (Loaiza-Ganem & Cunningham, 2019, arXiv:1907.06845).

    Examples:
        >>> likelihood = ContinuousBernoulliLikelihood()
        >>> log_px = likelihood.log_prob(torch.zeros(2, 4, 3, 8, 8), torch.rand(4, 3, 8, 8))  # (2, 4)
    """

    pixels = MappingProxyType({"levels": DENSITY})

    def out_channels(self, channels: int) -> int:
        """The logit, one for each channel of the image."""
        return channels

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        """Log density summed over pixels, (K, B, C, H, W) and (B, C, H, W) -> (K, B)."""
        return (params * (x - 0.5) - _log_sinhc(0.5 * params)).flatten(2).sum(-1)

    def mean(self, params: Tensor) -> Tensor:
        """E[x|z], which is not sigmoid(logit), (N, C, H, W)."""
        half, far, is_near = _guarded(0.5 * params)
        series = half * (1 / 3 - half.square() * (1 / 45 - half.square() * (2 / 945)))
        return 0.5 + 0.5 * torch.where(is_near, series, 1 / torch.tanh(far) - 1 / far)

    def sample(self, params: Tensor, noise: torch.Generator) -> Tensor:
        """A draw in [0, 1] by the inverse of the distribution function, (N, C, H, W)."""
        steepness = params.abs().clamp(min=SMALLEST_LOGIT)
        falling = -torch.log1p(uniform_like(params, noise) * torch.expm1(-steepness)) / steepness  # of a logit below 0
        return torch.where(params > 0, 1 - falling, falling)


def _log_sinhc(half: Tensor) -> Tensor:
    """log(sinh(h) / h), which is even, near zero by its series; neither overflows, nor do their gradients."""
    half, far, is_near = _guarded(half)
    far = far.abs()
    square = half.square()
    series = square * (1 / 6 - square * (1 / 180 - square * (1 / 2835)))
    return torch.where(is_near, series, far + torch.log(-torch.expm1(-2 * far) / (2 * far)))


def _guarded(half: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """h for a series near zero, h for a formula elsewhere, and which it is: each 0 or 1 where the other counts."""
    is_near = half.abs() < NEAR_ZERO
    return half.masked_fill(~is_near, 0.0), half.masked_fill(is_near, 1.0), is_near

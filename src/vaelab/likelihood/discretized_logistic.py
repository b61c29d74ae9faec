"""The logistic distribution on 256 levels: level k is the bin of width 2 / 255 around 2 k / 255 - 1.

The first and the last bin take the tails, so that the 256 masses sum to one (Kingma et al., 2016, arXiv:1606.04934,
appendix; Salimans et al., 2017, arXiv:1701.05517).
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

LEVELS = 256
HALF_BIN = 1 / (LEVELS - 1)
MIN_LOG_SCALE, MAX_LOG_SCALE = -7.0, 20.0
FAR = 1e11  # where the outer bins end: in units of the broadest scale still far outside
BROAD = 0.2  # a scale from which one form of the mean loses no digits, and below which the other does not


def log_mass(x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """Log mass of the levels x in [0, 1] under logistics on [-1, 1]; all broadcast."""
    inverse_scale = torch.exp(-log_scale.clamp(MIN_LOG_SCALE, MAX_LOG_SCALE))
    first, last = x < HALF_BIN / 2, x > 1 - HALF_BIN / 2
    lower = (2 * x - 1 - HALF_BIN).masked_fill(first, -FAR)
    upper = (2 * x - 1 + HALF_BIN).masked_fill(last, FAR)
    width = torch.full_like(x, 2 * HALF_BIN).masked_fill(first | last, FAR)
    # sigmoid(u) - sigmoid(l) = sigmoid(u) * sigmoid(-l) * (1 - exp(l - u)), exact however far out the bin lies
    log_below = -F.softplus(inverse_scale * (mean - upper))
    log_above = -F.softplus(inverse_scale * (lower - mean))
    return log_below + log_above + torch.log(-torch.expm1(-width * inverse_scale))


def expectation(mean: Tensor, log_scale: Tensor) -> Tensor:
    """E[x] on [-1, 1] of logistics cut to it, that of the masses up to half a bin.

    It is the integral of P(x > t) from -1 to 1, less 1, scale (softplus((mean + 1) / scale) - softplus((mean - 1) /
    scale)) - 1, where for a broad logistic the two terms have their first digits in common.
    """
    scale = log_scale.clamp(MIN_LOG_SCALE, MAX_LOG_SCALE).exp()
    above, below = (mean + 1) / scale, (mean - 1) / scale
    sharp = F.softplus(above) - F.softplus(below)
    broad = torch.log1p(torch.sigmoid(below) * torch.expm1(2 / scale.clamp(min=BROAD)))
    return (scale * torch.where(scale < BROAD, sharp, broad) - 1).clamp(-1, 1)


def draw(mean: Tensor, log_scale: Tensor, uniform: Tensor) -> Tensor:
    """One of the 256 levels k / 255 by uniform numbers in [0, 1)."""
    scale = log_scale.clamp(MIN_LOG_SCALE, MAX_LOG_SCALE).exp()
    value = mean + scale * torch.logit(uniform.clamp(1e-6, 1 - 1e-6))
    return (value * 0.5 + 0.5).clamp(0, 1).mul(LEVELS - 1).round().div(LEVELS - 1)

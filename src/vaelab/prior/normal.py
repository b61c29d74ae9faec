"""The standard normal prior."""

import math

from torch import Tensor, nn


class NormalPrior(nn.Module):
    """p(z) = N(0, I)."""

    is_standard_normal = True

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z) in nats, (..., D) -> (...)."""
        return -0.5 * (z.square() + math.log(2 * math.pi)).sum(-1)

    def sample(self, eps: Tensor) -> Tensor:
        """The noise itself, (N, D)."""
        return eps

"""Diagonal normal densities."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vaelab.distributions.contract import Distribution

LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class Normal:
    """The diagonal normal density N(z; mean, diag(exp(log_var))).

    Examples:
        >>> q = Normal(torch.zeros(4, 2), torch.zeros(4, 2))
        >>> z, log_q = q.draw(torch.randn(8, 4, 2))  # (8, 4, 2), (8, 4)
    """

    mean: Tensor
    log_var: Tensor

    def draw(self, eps: Tensor) -> tuple[Tensor, Tensor]:
        """z = mean + std * eps (Kingma & Welling, 2014, arXiv:1312.6114), and log N(z)."""
        z = self.mean + torch.exp(0.5 * self.log_var) * eps
        return z, -0.5 * (self.log_var + eps.square() + LOG_2PI).sum(-1)

    def log_prob(self, z: Tensor) -> Tensor:
        """log N(z), (..., D) -> (...)."""
        return self.factors(z).sum(-1)

    def factors(self, z: Tensor) -> Tensor:
        """log N(z_d) by dimension, (..., D)."""
        return -0.5 * (self.log_var + (z - self.mean).square() * torch.exp(-self.log_var) + LOG_2PI)

    def kl(self, other: Distribution) -> Tensor | None:
        """KL by dimension: of N(0, 1) it is (mean² + var - 1 - log var) / 2."""
        if isinstance(other, StandardNormal):
            return 0.5 * (self.mean.square() + self.log_var.exp() - 1 - self.log_var)
        if isinstance(other, Normal):
            log_ratio = self.log_var - other.log_var
            squared = (self.mean - other.mean).square() * torch.exp(-other.log_var)
            return 0.5 * (squared + log_ratio.exp() - 1 - log_ratio)
        return None

    def detached(self) -> "Normal":
        """The same density, whose parameters get no gradient."""
        return Normal(self.mean.detach(), self.log_var.detach())


@dataclass(frozen=True)
class StandardNormal:
    """The density N(z; 0, I) of any number of dimensions."""

    def draw(self, eps: Tensor) -> tuple[Tensor, Tensor]:
        """The noise itself, and log N(z)."""
        return eps, self.log_prob(eps)

    def log_prob(self, z: Tensor) -> Tensor:
        """log N(z), (..., D) -> (...)."""
        return self.factors(z).sum(-1)

    def factors(self, z: Tensor) -> Tensor:
        """log N(z_d) by dimension, (..., D)."""
        return -0.5 * (z.square() + LOG_2PI)

    def kl(self, other: Distribution) -> Tensor | None:
        """None: nothing in vaelab draws a posterior from it."""
        return None

    def detached(self) -> "StandardNormal":
        """Itself, for it has no parameters."""
        return self

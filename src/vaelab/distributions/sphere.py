"""Densities on the unit sphere of D dimensions, with respect to its area."""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from vaelab.distributions.angle import Angle
from vaelab.distributions.contract import Distribution
from vaelab.distributions.precision import wide

TINY = 1e-30
NORTH = 1e-15  # along the first axis: too little to move any noise but that which is zero


def log_area(dim: int) -> float:
    """log of the area of the unit sphere of D dimensions: of 2 its circumference, of 1 its two points."""
    return math.log(2) + 0.5 * dim * math.log(math.pi) - math.lgamma(0.5 * dim)


@dataclass(frozen=True)
class UniformSphere:
    """The uniform density on the unit sphere of any number of dimensions.

    Examples:
        >>> z, log_p = UniformSphere().draw(torch.randn(8, 4, 3))  # (8, 4, 3), (8, 4)
    """

    def draw(self, eps: Tensor) -> tuple[Tensor, Tensor]:
        """z = eps / |eps|, and log p(z); of zero noise the first axis."""
        north = torch.arange(eps.shape[-1], device=eps.device) == 0
        z = F.normalize(eps + NORTH * north, dim=-1, eps=TINY)
        return z, self.log_prob(z)

    def log_prob(self, z: Tensor) -> Tensor:
        """Less the log of the sphere's area, (..., D) -> (...)."""
        return z.new_full(z.shape[:-1], -log_area(z.shape[-1]))

    def kl(self, other: Distribution) -> None:
        """None: nothing in vaelab draws a posterior from it."""

    def detached(self) -> "UniformSphere":
        """Itself, for it has no parameters."""
        return self


@dataclass(frozen=True)
class VonMisesFisher:
    """The von Mises-Fisher density on the unit sphere, proportional to exp(k mean . z).

    Its normaliser is integrated, which is stable for any D of at least 2 and any k, as the Bessel function it is made
    of is not.

    Args:
        mean: unit vectors (B, D).
        concentration: k, at least 0, (B, 1).

    Examples:
        >>> q = VonMisesFisher(torch.eye(3), torch.full((3, 1), 10.0))
        >>> z, log_q = q.draw(torch.randn(8, 3, 3))  # (8, 3, 3), (8, 3)
    """

    mean: Tensor
    concentration: Tensor

    def draw(self, eps: Tensor) -> tuple[Tensor, Tensor]:
        """z = cos(t) mean + sin(t) v, and log p(z): v and t from the noise that is orthogonal to the mean.

        Of that noise v is the direction, and its length, of a chi distribution, has among its like the rank that the
        angle t has among angles to the mean. So z moves smoothly with mean, k and noise, and zero noise is the mean.
        """
        mean, eps = wide(self.mean), wide(eps)
        across = eps - (eps * mean).sum(-1, keepdim=True) * mean  # (..., D)
        squared = across.square().sum(-1, keepdim=True) + TINY
        freedom = torch.full_like(squared, 0.5 * (self._dim - 1))
        t = self._angle.quantile(torch.special.gammainc(freedom, 0.5 * squared))
        z = t.cos() * mean + t.sin() * across / squared.sqrt()
        log_prob = self._log_largest - (wide(self.concentration) * 2 * (t / 2).sin().square()).squeeze(-1)
        return z.to(self.mean.dtype), log_prob.to(self.mean.dtype)

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z) of unit vectors, (..., D) -> (...)."""
        squared = (wide(z) - wide(self.mean)).square().sum(-1)  # 2 (1 - mean . z)
        log_prob = self._log_largest - 0.5 * wide(self.concentration).squeeze(-1) * squared
        return log_prob.to(self.mean.dtype)

    def kl(self, other: Distribution) -> Tensor | None:
        """KL to the uniform density on the sphere, (B, 1)."""
        if not isinstance(other, UniformSphere):
            return None
        below = wide(self.concentration).squeeze(-1) * self._angle.mean_versine
        return (self._log_largest - below + log_area(self._dim)).to(self.mean.dtype).unsqueeze(-1)

    def detached(self) -> "VonMisesFisher":
        """The same density, whose parameters get no gradient."""
        return VonMisesFisher(self.mean.detach(), self.concentration.detach())

    @property
    def _dim(self) -> int:
        return self.mean.shape[-1]

    @cached_property
    def _angle(self) -> Angle:
        return Angle(wide(self.concentration), self._dim)

    @property
    def _log_largest(self) -> Tensor:
        """log p(mean), (B,)."""
        return -self._angle.log_total - log_area(self._dim - 1)

"""The normal density of any covariance."""

from dataclasses import dataclass

import torch
from torch import Tensor

from vaelab.distributions.contract import Distribution
from vaelab.distributions.normal import LOG_2PI, Normal, StandardNormal


@dataclass(frozen=True)
class MultivariateNormal:
    """The normal density N(z; mean, L L^T) of any covariance, by its Cholesky factor L.

    Args:
        mean: (B, D).
        cholesky: L, lower triangular with a positive diagonal, (B, D, D).

    Examples:
        >>> q = MultivariateNormal(torch.zeros(4, 2), torch.eye(2).repeat(4, 1, 1))
        >>> z, log_q = q.draw(torch.randn(8, 4, 2))  # (8, 4, 2), (8, 4)
    """

    mean: Tensor
    cholesky: Tensor

    def draw(self, eps: Tensor) -> tuple[Tensor, Tensor]:
        """z = mean + L eps, and log N(z)."""
        z = self.mean + (self.cholesky @ eps.unsqueeze(-1)).squeeze(-1)
        return z, self._log_prob_of_noise(eps)

    def log_prob(self, z: Tensor) -> Tensor:
        """log N(z), (..., D) -> (...)."""
        shifted = z - self.mean
        batch = self.cholesky.dim() - 2
        columns = shifted.flatten(0, -batch - 2) if shifted.dim() > batch + 1 else shifted.unsqueeze(0)  # (N, B, D)
        # all samples of one image are columns of one system, for which L is not repeated
        eps = torch.linalg.solve_triangular(self.cholesky, columns.movedim(0, -1), upper=False)  # (B, D, N)
        return self._log_prob_of_noise(eps.movedim(-1, 0).reshape(shifted.shape))

    def kl(self, other: Distribution) -> Tensor | None:
        """KL by dimension, (B, D), to a diagonal normal: of p(z_d) from q(z_d | z_1 .. z_d-1), a mean over those.

        By the chain rule these add up to the whole; row d of L has the variance of z_d and its last entry what is left
        of it once the dimensions before are known.
        """
        if isinstance(other, StandardNormal):
            squared, log_var = self.mean.square() + self._variance, 0.0
        elif isinstance(other, Normal):
            log_var = other.log_var
            squared = ((self.mean - other.mean).square() + self._variance) * torch.exp(-log_var)
        else:
            return None
        return 0.5 * (squared - 1 + log_var) - self._log_diagonal

    def detached(self) -> "MultivariateNormal":
        """The same density, whose parameters get no gradient."""
        return MultivariateNormal(self.mean.detach(), self.cholesky.detach())

    def _log_prob_of_noise(self, eps: Tensor) -> Tensor:
        return -(0.5 * (eps.square() + LOG_2PI) + self._log_diagonal).sum(-1)

    @property
    def _variance(self) -> Tensor:
        return self.cholesky.square().sum(-1)

    @property
    def _log_diagonal(self) -> Tensor:
        return self.cholesky.diagonal(dim1=-2, dim2=-1).log()

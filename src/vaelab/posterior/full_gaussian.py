"""The normal posterior of full covariance."""

import torch
from torch import Tensor, nn

from vaelab.distributions import MultivariateNormal


class FullGaussianPosterior(nn.Module):
    """Normal of full covariance, q(z|x) = N(mean(h), L(h) L(h)^T) (Kingma & Welling, 2019, arXiv:1906.02691).

    One linear layer from the encoder's features gives the mean, the logarithms of L's diagonal, and what is below it:
    D (D + 3) / 2 numbers. The latents of an image depend on each other, so that the density has no factors.

    Args:
        in_features: F of the encoder.
        latent_dim: D.

    Examples:
        >>> q = FullGaussianPosterior(in_features=16, latent_dim=2)(torch.zeros(4, 16))
        >>> z, log_q = q.draw(torch.randn(8, 4, 2))  # (8, 4, 2), (8, 4)
    """

    def __init__(self, in_features: int, latent_dim: int) -> None:
        super().__init__()
        rows, columns = torch.tril_indices(latent_dim, latent_dim, -1)
        self.register_buffer("rows", rows, persistent=False)
        self.register_buffer("columns", columns, persistent=False)
        self.sizes = (latent_dim, latent_dim, len(rows))
        self.heads = nn.Linear(in_features, sum(self.sizes))

    def forward(self, h: Tensor) -> MultivariateNormal:
        """q(z|x) of features h (B, F)."""
        mean, log_diagonal, below = self.heads(h).split(self.sizes, dim=-1)
        cholesky = torch.diag_embed(log_diagonal.exp())  # (B, D, D)
        cholesky[:, self.rows, self.columns] = below
        return MultivariateNormal(mean, cholesky)

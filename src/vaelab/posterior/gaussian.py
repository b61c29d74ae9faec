"""The diagonal Gaussian posterior (Kingma & Welling, 2014)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class GaussianDraw:
    """z = mean + std * eps with its density; mean and log_var (B, D), eps and z (K, B, D)."""

    mean: Tensor
    log_var: Tensor
    eps: Tensor
    z: Tensor

    @property
    def log_qz(self) -> Tensor:
        """log q(z|x), (K, B)."""
        return -0.5 * (self.log_var + self.eps.square() + math.log(2 * math.pi)).sum(-1)

    @property
    def kl_to_standard_normal(self) -> Tensor:
        """KL(N(mean, var) || N(0, 1)) = (mean² + var - 1 - log var) / 2 by dimension, (B, D)."""
        return 0.5 * (self.mean.square() + self.log_var.exp() - 1 - self.log_var)


class GaussianPosterior(nn.Module):
    """q(z|x) = N(mean(h), diag(exp(log_var(h)))), one linear layer from the encoder's features for both.

    Args:
        in_features: F of the encoder.
        latent_dim: D.
    """

    def __init__(self, in_features: int, latent_dim: int) -> None:
        super().__init__()
        self.heads = nn.Linear(in_features, 2 * latent_dim)

    def forward(self, h: Tensor, eps: Tensor) -> GaussianDraw:
        """Draw by reparameterisation, h (B, F) and eps (K, B, D)."""
        mean, log_var = self.heads(h).chunk(2, dim=-1)  # (B, 2D) -> 2 x (B, D)
        return GaussianDraw(mean, log_var, eps, mean + torch.exp(0.5 * log_var) * eps)

"""The von Mises-Fisher posterior, on the sphere."""

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from vaelab.distributions import VonMisesFisher
from vaelab.errors import UserError


class VonMisesFisherPosterior(nn.Module):
    """Von Mises-Fisher on the unit sphere, q(z|x) proportional to exp(k(h) mean(h) . z): the S-VAE.

    Davidson et al., 2018 (arXiv:1804.00891). One linear layer from the encoder's features gives the mean direction and
    k = 1 + softplus, as in the paper; its rejection sampler is none here: noise gives z in one pass, with gradients.

    Args:
        in_features: F of the encoder.
        latent_dim: D.

    Raises:
        UserError: if D is 1, where the sphere is two points.

    Examples:
        >>> q = VonMisesFisherPosterior(in_features=16, latent_dim=3)(torch.randn(4, 16))
        >>> z, log_q = q.draw(torch.randn(8, 4, 3))  # (8, 4, 3), (8, 4)
    """

    space = "sphere"

    def __init__(self, in_features: int, latent_dim: int) -> None:
        super().__init__()
        if latent_dim < 2:
            raise UserError(f"a posterior on a sphere needs latent.dim of at least 2, got {latent_dim}; raise it")
        self.heads = nn.Linear(in_features, latent_dim + 1)

    def forward(self, h: Tensor) -> VonMisesFisher:
        """q(z|x) of features h (B, F)."""
        mean, concentration = self.heads(h).tensor_split([-1], dim=-1)  # (B, D), (B, 1)
        return VonMisesFisher(F.normalize(mean, dim=-1), 1 + F.softplus(concentration))

"""The posterior of an autoencoder: a point."""

from dataclasses import dataclass

from torch import Tensor, nn

from vaelab.distributions import Distribution
from vaelab.errors import UserError


class DeltaPosterior(nn.Module):
    """A point z(h), as of an autoencoder (Hinton & Salakhutdinov, 2006), linear in the features.

    It has no density, hence no ELBO; `objective=rae` trains it.

    Args:
        in_features: F of the encoder.
        latent_dim: D.

    Examples:
        >>> q = DeltaPosterior(in_features=16, latent_dim=2)(torch.zeros(4, 16))
        >>> z, _ = q.draw(torch.randn(8, 4, 2))  # (8, 4, 2), eight times the same
    """

    def __init__(self, in_features: int, latent_dim: int) -> None:
        super().__init__()
        self.head = nn.Linear(in_features, latent_dim)

    def forward(self, h: Tensor) -> "Point":
        """The point of features h (B, F)."""
        return Point(self.head(h))


@dataclass(frozen=True)
class Point:
    """All mass in one place, z (B, D)."""

    z: Tensor

    def draw(self, eps: Tensor) -> tuple[Tensor, None]:
        """The point, whatever the noise (K, B, D), and no density."""
        return self.z.expand(eps.shape), None

    def log_prob(self, z: Tensor) -> Tensor:
        """Raises UserError: there is no density."""
        raise UserError("a point has no density; choose objective=rae, or a posterior with a density")

    def kl(self, other: Distribution) -> None:
        """None: there is no density."""

    def detached(self) -> "Point":
        """The same point, which gets no gradient."""
        return Point(self.z.detach())

"""The diagonal normal posterior."""

from torch import Tensor, nn

from vaelab.distributions import Normal


class GaussianPosterior(nn.Module):
    """Diagonal normal, q(z|x) = N(mean(h), diag(exp(log_var(h)))) (Kingma & Welling, 2014, arXiv:1312.6114).

    One linear layer from the encoder's features gives both.

    Args:
        in_features: F of the encoder.
        latent_dim: D.

    Examples:
        >>> q = GaussianPosterior(in_features=16, latent_dim=2)(torch.zeros(4, 16))
        >>> z, log_q = q.draw(torch.randn(8, 4, 2))  # (8, 4, 2), (8, 4)
    """

    def __init__(self, in_features: int, latent_dim: int) -> None:
        super().__init__()
        self.heads = nn.Linear(in_features, 2 * latent_dim)

    def forward(self, h: Tensor) -> Normal:
        """q(z|x) of features h (B, F)."""
        mean, log_var = self.heads(h).chunk(2, dim=-1)  # (B, 2D) -> 2 x (B, D)
        return Normal(mean, log_var)

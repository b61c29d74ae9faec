"""The uniform prior on the sphere."""

from torch import nn

from vaelab.distributions import UniformSphere
from vaelab.errors import UserError
from vaelab.parts import Infer


class UniformSpherePrior(nn.Module):
    """Uniform on the unit sphere of D dimensions, p(z) = 1 / area (Davidson et al., 2018, arXiv:1804.00891).

    Args:
        latent_dim: D.

    Raises:
        UserError: if D is 1, where the sphere is two points.

    Examples:
        >>> z, log_p = UniformSpherePrior(latent_dim=3)(infer=None).draw(torch.randn(8, 4, 3))  # (8, 4, 3), (8, 4)
    """

    space = "sphere"

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        if latent_dim < 2:
            raise UserError(f"a prior on a sphere needs latent.dim of at least 2, got {latent_dim}; raise it")

    def forward(self, infer: Infer) -> UniformSphere:
        """The density, whatever posteriors are."""
        return UniformSphere()

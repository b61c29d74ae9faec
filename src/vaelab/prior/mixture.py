"""The mixture of normals as a prior."""

import torch
from torch import nn

from vaelab.distributions import Mixture, Normal
from vaelab.errors import check_integer
from vaelab.parts import Infer


class MixturePrior(nn.Module):
    """Mixture of C diagonal normals, p(z) = sum_c w_c N(z; mean_c, diag(var_c)), all of it learned.

    As in the MoG prior of Tomczak & Welling, 2018 (arXiv:1705.07120), with weights that are learned too. At first the
    means are drawn from N(0, I / 2) and the variances are 1/2: components that differ, so that each can take a part of
    the latents, and together about as wide as a standard normal.

    Args:
        latent_dim: D.
        components: C.

    Raises:
        ValueError: if there is no component.

    Examples:
        >>> p = MixturePrior(latent_dim=2, components=10)(infer=None)
        >>> z, log_p = p.draw(torch.randn(8, 4, 2))  # (8, 4, 2), (8, 4)
    """

    def __init__(self, latent_dim: int, components: int) -> None:
        super().__init__()
        check_integer("components", components, 1)
        self.mean = nn.Parameter(torch.randn(components, latent_dim) * 0.5**0.5)
        self.log_var = nn.Parameter(torch.full((components, latent_dim), 0.5).log())
        self.logits = nn.Parameter(torch.zeros(components))

    def forward(self, infer: Infer) -> Mixture:
        """The density, whatever posteriors are."""
        return Mixture(Normal(self.mean, self.log_var), self.logits)

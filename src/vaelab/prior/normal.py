"""The standard normal prior."""

from torch import Tensor, nn

from vaelab.distributions import StandardNormal
from vaelab.parts import Infer


class NormalPrior(nn.Module):
    """Standard normal, p(z) = N(0, I) (Kingma & Welling, 2014, arXiv:1312.6114)."""

    def forward(self, infer: Infer, y: Tensor | None = None) -> StandardNormal:
        """The density, whatever posteriors and labels are."""
        return StandardNormal()

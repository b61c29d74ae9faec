"""The standard normal prior."""

from torch import nn

from vaelab.distributions import StandardNormal
from vaelab.parts import Infer


class NormalPrior(nn.Module):
    """Standard normal, p(z) = N(0, I) (Kingma & Welling, 2014, arXiv:1312.6114)."""

    def forward(self, infer: Infer) -> StandardNormal:
        """The density, whatever the posteriors are."""
        return StandardNormal()

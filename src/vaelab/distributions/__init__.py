"""Distributions over latents: what posteriors and priors return.

Shapes: B images, K samples of z per image, D latent dimensions. Parameters broadcast against z (K, B, D): those of
q(z|x) are (B, D) or, where they depend on other latents of the same sample, (K, B, D). All densities are in nats.
"""

from vaelab.distributions.contract import Distribution, draw_at
from vaelab.distributions.mixture import Mixture, is_mixable
from vaelab.distributions.multivariate_normal import MultivariateNormal
from vaelab.distributions.normal import LOG_2PI, Normal, StandardNormal
from vaelab.distributions.sphere import UniformSphere, VonMisesFisher

__all__ = [
    "LOG_2PI",
    "Distribution",
    "Mixture",
    "MultivariateNormal",
    "Normal",
    "StandardNormal",
    "UniformSphere",
    "VonMisesFisher",
    "draw_at",
    "is_mixable",
]

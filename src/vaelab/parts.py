"""The contracts between the parts of a VAE.

Shapes: B images, K samples of z per image, D latent dimensions, C x H x W an image, P likelihood parameters
per channel. All densities are in nats.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

# What log_prob is on a given kind of pixel: only the log of a probability `mass` can be read as bits per dimension.
MASS, DENSITY, CROSS_ENTROPY = "mass", "density", "cross-entropy"


class Encoder(Protocol):
    """A network x (B, C, H, W) in [0, 1] -> h (B, F)."""

    out_features: int

    def __call__(self, x: Tensor) -> Tensor:
        """Features of the images."""


class Decoder(Protocol):
    """A network z (N, D) -> likelihood parameters (N, P * C, H, W)."""

    def __call__(self, z: Tensor) -> Tensor:
        """Likelihood parameters of the latents."""


class Draw(Protocol):
    """Samples from q(z|x) with what is known of their density."""

    @property
    def z(self) -> Tensor:
        """The samples, (K, B, D)."""

    @property
    def log_qz(self) -> Tensor:
        """log q(z|x) of each, (K, B)."""

    @property
    def kl_to_standard_normal(self) -> Tensor | None:
        """KL(q(z|x) || N(0, I)) by dimension, (B, D), where it has a closed form."""


class Posterior(Protocol):
    """q(z|x): samples and their density in one pass, so that a flow can be one."""

    def __call__(self, h: Tensor, eps: Tensor) -> Draw:
        """Turn features h (B, F) and standard normal noise eps (K, B, D) into a draw."""


class Prior(Protocol):
    """p(z)."""

    is_standard_normal: bool

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z), (..., D) -> (...)."""

    def sample(self, eps: Tensor) -> Tensor:
        """Turn standard normal noise (N, D) into samples (N, D)."""


class Likelihood(Protocol):
    """p(x|z).

    Attributes:
        params_per_channel: P.
        supports: the kinds of pixels it can score, and what log_prob is on each.
    """

    params_per_channel: int
    supports: Mapping[str, str]

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        """log p(x|z) summed over pixels, (K, B, P * C, H, W) and (B, C, H, W) -> (K, B)."""

    def mean(self, params: Tensor) -> Tensor:
        """E[x|z] in [0, 1], (N, P * C, H, W) -> (N, C, H, W)."""

    def sample(self, params: Tensor, noise: torch.Generator) -> Tensor:
        """Draw x from p(x|z), (N, P * C, H, W) -> (N, C, H, W), by noise that may be of another device."""


class Objective(Protocol):
    """What is minimised.

    Attributes:
        samples: K, samples of z for each image.
    """

    samples: int

    def __call__(self, trace: Any, step: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss () and its terms (), among them `elbo`, `reconstruction` and `kl`, of a `vaelab.vae.Trace`."""

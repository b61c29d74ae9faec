"""The contracts between the parts of a VAE.

Shapes: B images, K samples of z per image, D latent dimensions, C x H x W an image, M channels of likelihood
parameters. All densities are in nats, and float32 whatever the matrix products use. Noise is always an argument.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor

from vaelab.distributions import Distribution
from vaelab.errors import UserError

# What log_prob is on a given kind of pixel: only the log of a probability `mass` can be read as bits per dimension.
MASS, DENSITY, CROSS_ENTROPY = "mass", "density", "cross-entropy"

Noise = Any  # standard normal (K, B, D), or a tuple of such tensors where a model has several groups of latents
Infer = Callable[..., Distribution]  # of images x (B, C, H, W) and, in a conditional model, labels y (B,)


@dataclass(frozen=True)
class Facts:
    """What a run knows of its data: given by name to the parts whose signature names it, and kept with the weights.

    Attributes:
        image_shape: (C, H, W).
        num_classes: of the labels, or None without labels.
        train_size: how many training images there are.
    """

    image_shape: tuple[int, int, int]
    num_classes: int | None
    train_size: int


class Encoder(Protocol):
    """A network x (B, C, H, W) in [0, 1] -> h (B, F).

    One that says `takes_labels = True` gets labels y (B,) too, and so do prior and decoder: a conditional model.
    """

    out_features: int

    def __call__(self, x: Tensor) -> Tensor:
        """Features of the images."""


class Decoder(Protocol):
    """A network z (N, D) -> likelihood parameters (N, M, H, W); with labels (N,) too in a conditional model."""

    def __call__(self, z: Tensor) -> Tensor:
        """Likelihood parameters of the latents."""


class Posterior(Protocol):
    """q(z|x) of features h (B, F).

    One whose latents are no vectors of real numbers says so in `space`, which the prior must share, such as `sphere`.
    One of discrete codes brings the prior over them itself, as `prior() -> Distribution`.
    """

    def __call__(self, h: Tensor) -> Distribution:
        """The density of z given the features."""


class Prior(Protocol):
    """p(z); with labels y (B,) as a second argument in a conditional model. `space` as of a posterior."""

    def __call__(self, infer: Infer) -> Distribution:
        """The density of z.

        Args:
            infer: the model's own way from images x (B, C, H, W) to q(z|x), so that a prior made of posteriors, as
                VampPrior (Tomczak & Welling, 2018, arXiv:1705.07120), owns no encoder.
        """


class Likelihood(Protocol):
    """p(x|z).

    One that has a method `start(images)` is given the training images (N, C, H, W) uint8 before the first step.

    Attributes:
        pixels: the kinds of pixels it can score, and what log_prob is on each.
    """

    pixels: Mapping[str, str]

    def out_channels(self, channels: int) -> int:
        """M for images of C channels."""

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        """log p(x|z) summed over pixels, (K, B, M, H, W) and (B, C, H, W) -> (K, B)."""

    def mean(self, params: Tensor) -> Tensor:
        """E[x|z] in [0, 1], (N, M, H, W) -> (N, C, H, W)."""

    def sample(self, params: Tensor, noise: torch.Generator) -> Tensor:
        """Draw x from p(x|z), (N, M, H, W) -> (N, C, H, W), by noise that may be of another device."""


@dataclass(frozen=True)
class Latent:
    """One group of latents of a forward pass.

    Attributes:
        z: samples from q, (K, B, D).
        log_q: log q(z|x) of each, (K, B); None where q has no density.
        q: the posterior.
        p: the prior, or of a ladder the density given the groups above.
    """

    z: Tensor
    log_q: Tensor | None
    q: Distribution
    p: Distribution

    def _require_density(self, what: str) -> None:
        if self.log_q is None:
            raise UserError(f"{type(self.q).__name__} has no density, which {what} needs; choose objective=rae")

    @property
    def log_p(self) -> Tensor:
        """log p(z) of the samples, (K, B)."""
        return self.p.log_prob(self.z)

    @property
    def kl(self) -> Tensor:
        """KL(q || p) by dimension, (B, D), closed where it can be, else estimated from the samples, (B, 1)."""
        closed = self.q.kl(self.p)
        if closed is None:
            self._require_density("its KL")
            return (self.log_q - self.log_p).mean(0).unsqueeze(-1)
        return closed.mean(0) if closed.dim() == 3 else closed  # (K, B, D) where q or p depends on other latents


@dataclass(frozen=True)
class Trace:
    """One forward pass of B images with K samples of z each; all in nats.

    Attributes:
        log_px: log p(x|z), (K, B).
        latents: the groups of latents, one for a flat VAE, from the top down for a ladder.
        losses: further losses of the model by name, such as a codebook's, each a mean over the images, ().
    """

    log_px: Tensor
    latents: tuple[Latent, ...]
    losses: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def has_density(self) -> bool:
        """Whether q(z|x) has a density, without which there is no ELBO."""
        return all(latent.log_q is not None for latent in self.latents)

    @cached_property
    def kl(self) -> Tensor:
        """KL(q(z|x) || p(z)) of each image, (B,), summed over dimensions and groups."""
        first, *others = (latent.kl.sum(-1) for latent in self.latents)
        return sum(others, first)

    @cached_property
    def log_w(self) -> Tensor:
        """log p(x, z) - log q(z|x), the log of each sample's importance weight, (K, B)."""
        log_w = self.log_px
        for latent in self.latents:
            latent._require_density("an importance weight")
            log_w = log_w + latent.log_p - latent.log_q
        return log_w

    @cached_property
    def terms(self) -> dict[str, Tensor]:
        """`elbo`, `reconstruction` and `kl` as means over the images, (), and the further losses.

        The ELBO uses the KL in closed form where there is one. Without a density the reconstruction alone is given.
        """
        reconstruction = self.log_px.mean()
        if not self.has_density:
            return {"reconstruction": reconstruction, **self.losses}
        kl = self.kl.mean()
        return {"elbo": reconstruction - kl, "reconstruction": reconstruction, "kl": kl, **self.losses}


class Model(Protocol):
    """A generative model with its approximate posterior; a `torch.nn.Module`.

    What a step changes in buffers it changes in place, by means over the images, which ranks can add up. A module of
    which that is not so, or whose log p(x|z) depends on the batch, says `is_mean_over_images = False`.

    Attributes:
        likelihood: p(x|z), which says what log p(x|z) is on which pixels.
        latent_dim: D, of all groups together.
        takes_labels: whether `y` is to be given.
    """

    likelihood: Likelihood
    latent_dim: int
    takes_labels: bool

    def noise(self, samples: int, images: int, generator: torch.Generator) -> Noise:
        """Standard normal noise for K samples of each of B images, on the model's device: every tensor (K, B, ...)."""

    def __call__(self, x: Tensor, noise: Noise, y: Tensor | None = None) -> Trace:
        """Encode x (B, C, H, W) in [0, 1] with labels y (B,), draw z with the noise, score x."""

    def encode(self, x: Tensor, y: Tensor | None = None) -> Callable[[Noise], Trace]:
        """What is left of a pass once x is encoded: from noise to the trace, so that more samples cost no encoding."""

    def sample(
        self, count: int, generator: torch.Generator, y: Tensor | None = None, pixel_noise: bool = False
    ) -> Tensor:
        """Images (N, C, H, W) in [0, 1] for z ~ p(z): the mean of p(x|z) or, with `pixel_noise`, a draw from it."""

    def embed(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """z (B, D) of images x (B, C, H, W) at zero noise."""

    def reconstruct(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """The mean of p(x|z) at z of zero noise, (B, C, H, W) in [0, 1]."""


class Objective(Protocol):
    """What is minimised.

    One with networks of its own, such as a discriminator, is a `torch.nn.Module` with an attribute `optimizer` over
    their parameters, which makes its step after the model's. What they are trained by is added to the loss as
    `own - own.detach()`, a gradient without a value. One that cannot work with a model raises UserError.

    Attributes:
        samples: K, samples of z for each image, for which noise is drawn.
        is_mean_over_images: whether the loss of a batch is the mean of its images' losses. One that is not, as of a
            term that compares the images of a batch, is refused where ranks would each see a part of the batch.
        compiles: whether it can be recorded with its gradient as one graph; one that keeps what it computes cannot.
    """

    samples: int
    is_mean_over_images: bool
    compiles: bool

    def __call__(
        self, model: Model, x: Tensor, noise: Noise, step: Tensor | None = None, y: Tensor | None = None
    ) -> tuple[Tensor, Trace, dict[str, Tensor]]:
        """The loss (), the trace it was made of, and further terms to report by name, each ().

        What is reported as `elbo`, `reconstruction` and `kl` is the trace's, so that it means the same everywhere.

        Args:
            model: given noise, it makes a trace.
            x: images (B, C, H, W) in [0, 1].
            noise: as `model.noise` draws it, for K samples.
            step: the training step as a tensor (), or None for the loss after any warm-up, as evaluation wants it.
            y: labels (B,), or None.
        """

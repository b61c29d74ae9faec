"""Labels to encoder, prior and decoder: the conditional VAE."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from vaelab.distributions import Distribution, Normal, StandardNormal, draw_at
from vaelab.errors import UserError
from vaelab.parts import Decoder, Encoder, Infer, Prior


class Labels:
    """p(z|y) p(x|z, y) with q(z|x, y): the class of each image goes to encoder, prior and decoder.

    Sohn, Lee & Yan, 2015. The encoder sees a learned image of the class added to x, which in a first linear layer is
    what the class as further inputs would be; the prior's z is scaled and moved by class; the decoder gets the class
    as further inputs, one of each class.

    Args:
        image_shape: (C, H, W).
        num_classes: of the labels.
        latent_dim: D.

    Attributes:
        decoder_inputs: what the decoder gets beside z, `num_classes`.

    Raises:
        UserError: if the dataset has no labels.
    """

    def __init__(self, image_shape: tuple[int, int, int], num_classes: int | None, latent_dim: int) -> None:
        if num_classes is None:
            raise UserError("conditional=labels needs a dataset with labels, and this one has none; choose another")
        self.image_shape = image_shape
        self.num_classes = num_classes
        self.latent_dim = latent_dim
        self.decoder_inputs = num_classes

    def __call__(self, encoder: Encoder, decoder: Decoder, prior: Prior) -> tuple[Encoder, Decoder, Prior]:
        """The parts, each of which takes labels (B,) as its last argument."""
        return (
            LabelledEncoder(encoder, self.image_shape, self.num_classes),
            LabelledDecoder(decoder, self.num_classes),
            LabelledPrior(prior, self.latent_dim, self.num_classes),
        )


class LabelledEncoder(nn.Module):
    """h = encoder(x + image of y), (B, C, H, W) and (B,) -> (B, F)."""

    takes_labels = True

    def __init__(self, encoder: Encoder, image_shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.out_features = encoder.out_features
        self.images = nn.Parameter(torch.zeros(num_classes, *image_shape))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Features of the images, given their labels."""
        return self.encoder(x + self.images[y])


class LabelledDecoder(nn.Module):
    """Likelihood parameters of (z, y), (N, D) and (N,) -> (N, M, H, W)."""

    def __init__(self, decoder: Decoder, num_classes: int) -> None:
        super().__init__()
        self.decoder = decoder
        self.num_classes = num_classes

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """Likelihood parameters of the latents, given the labels."""
        return self.decoder(torch.cat([z, F.one_hot(y, self.num_classes).to(z.dtype)], dim=-1))


class LabelledPrior(nn.Module):
    """p(z|y): another prior, its z scaled and moved by dimension and class; at first as it is."""

    def __init__(self, prior: Prior, latent_dim: int, num_classes: int) -> None:
        super().__init__()
        self.space = getattr(prior, "space", "real")
        if self.space != "real" or getattr(prior, "infers", False):
            raise UserError(f"{type(prior).__name__} takes no labels; choose conditional=none or another prior")
        self.prior = prior
        self.mean = nn.Parameter(torch.zeros(num_classes, latent_dim))
        self.log_var = nn.Parameter(torch.zeros(num_classes, latent_dim))

    def forward(self, infer: Infer, y: Tensor) -> Distribution:
        """The density of z given labels y (B,)."""
        base, mean, log_var = self.prior(infer), self.mean[y], self.log_var[y]  # 2 x (B, D)
        return Normal(mean, log_var) if isinstance(base, StandardNormal) else Moved(base, mean, log_var)


@dataclass(frozen=True)
class Moved:
    """The density of mean + exp(log_var / 2) z for z of another density; mean and log_var (B, D)."""

    base: Distribution
    mean: Tensor
    log_var: Tensor

    def draw(self, eps: Tensor) -> tuple[Tensor, Tensor]:
        """Samples (..., B, D) from standard normal noise of that shape, and their log density (..., B)."""
        z, log_prob = self.base.draw(eps)
        return self.mean + torch.exp(0.5 * self.log_var) * z, log_prob - 0.5 * self.log_var.sum(-1)

    def draw_at(self, eps: Tensor, temperature: float) -> Tensor:
        """Samples by the other density's noise at a temperature."""
        return self.mean + torch.exp(0.5 * self.log_var) * draw_at(self.base, eps, temperature)

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z), (..., B, D) -> (..., B)."""
        return self.base.log_prob((z - self.mean) * torch.exp(-0.5 * self.log_var)) - 0.5 * self.log_var.sum(-1)

    def kl(self, other: Distribution) -> None:
        """None: no closed form is known."""

    def detached(self) -> "Moved":
        """The same density, whose parameters get no gradient."""
        return Moved(self.base.detached(), self.mean.detach(), self.log_var.detach())

"""Posteriors without a density: a point, and the nearest code of a codebook (van den Oord, 2017, arXiv:1711.00937)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Point:
    """All mass in one place, z (B, D)."""

    z: Tensor
    losses: Mapping[str, Tensor] = field(default_factory=dict)

    def draw(self, eps):
        return self.z.expand(eps.shape), None

    def log_prob(self, z):
        raise NotImplementedError("a point has no density")

    def kl(self, other):
        return None

    def detached(self):
        return Point(self.z.detach())


class PointPosterior(nn.Module):
    def __init__(self, in_features, latent_dim):
        super().__init__()
        self.head = nn.Linear(in_features, latent_dim)

    def forward(self, h):
        return Point(self.head(h))


class CodebookPosterior(nn.Module):
    """The nearest of some codes, which follow the encoder by moving averages; the gradient goes straight through."""

    compiles = False  # a step changes the codes in place

    def __init__(self, in_features, latent_dim, codes=8, decay=0.9):
        super().__init__()
        self.head = nn.Linear(in_features, latent_dim)
        self.decay = decay
        self.register_buffer("share", torch.full((codes,), 1 / codes))  # of the images, by code
        self.register_buffer("sums", torch.linspace(-1, 1, codes)[:, None].repeat(1, latent_dim) / codes)

    @property
    def codes(self):
        return self.sums / self.share.clamp(min=1e-6).unsqueeze(-1)

    def forward(self, h):
        z = self.head(h)  # (B, D)
        nearest = torch.cdist(z, self.codes).argmin(-1)
        quantized = self.codes[nearest]
        if self.training:
            self.follow(nn.functional.one_hot(nearest, len(self.share)).float(), z.detach())
        losses = {"commitment": (z - quantized).square().sum(-1).mean()}
        return Point(z + (quantized - z).detach(), losses)

    @torch.no_grad()
    def follow(self, chosen, z):
        """Move both buffers by what is a mean over the images, as ranks that share a batch need it."""
        self.share.lerp_(chosen.mean(0), 1 - self.decay)
        self.sums.lerp_(chosen.T @ z / len(z), 1 - self.decay)

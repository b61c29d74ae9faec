"""Models that are nothing but their latents: the images tell z, so that what is measured of it is known."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vaelab.dataset.images import Dataset, Split
from vaelab.distributions import Normal, StandardNormal
from vaelab.evaluation.subject import Subject
from vaelab.likelihood.gaussian import GaussianLikelihood
from vaelab.vae import VAE


class PixelsAsMean(nn.Module):
    """q(z|x) = N(scale * (x - 1/2), exp(log_var) I) of pixels x."""

    def __init__(self, scale=10.0, log_var=-4.0):
        super().__init__()
        self.scale, self.log_var = nn.Parameter(torch.as_tensor(scale)), log_var

    def forward(self, h):
        mean = self.scale * (h - 0.5)
        return Normal(mean, torch.full_like(mean, self.log_var))


class OneNormal(nn.Module):
    def forward(self, infer):
        return StandardNormal()


def transparent_vae(dims, scale=10.0, log_var=-4.0):
    """A VAE whose latents are the D pixels of an image (1, 1, D), spread by `scale`; it decodes them back."""
    encoder = nn.Flatten()
    encoder.out_features = dims
    vae = VAE(encoder, nn.Unflatten(1, (1, 1, dims)), PixelsAsMean(scale, log_var), OneNormal(), None, dims)
    vae.likelihood = GaussianLikelihood(1.0)
    return vae


def rows_as_images(values):
    """Images (N, 1, 1, D) uint8 of rows (N, D) of numbers, each column from 0 to 255."""
    lowest, highest = values.amin(0), values.amax(0)
    return ((values - lowest) / (highest - lowest).clamp(min=1e-9) * 255).round().to(torch.uint8)[:, None, None]


def subject_of(vae, test, train=None, factors=(), seed=0):
    """What measures take; without images to train on they are those to test on."""
    splits = {"train": train or test, "test": test}
    dataset = Dataset("rows", splits.__getitem__, 0, "none", factors=factors)
    return Subject(vae.eval(), dataset, test, 50, seed)


@dataclass(frozen=True)
class Coded:
    """A posterior of codes, without a density."""

    codes: Tensor
    num_codes: int

    def draw(self, eps):
        return self.codes.float().expand(len(eps), -1, -1), None

    def kl(self, other):
        return None


def split_of(values, labels=None, factors=None):
    """A split of rows of numbers."""
    return Split(rows_as_images(values), labels, factors)

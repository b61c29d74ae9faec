"""The Gaussian likelihood with a standard deviation that is given, learned, the decoder's, or the best for a batch."""

import math
from types import MappingProxyType

import torch
from torch import Tensor, nn

from vaelab.likelihood.positive import (
    LEARNED,
    MIN_LOG_SCALE,
    MIN_SCALE,
    log_positive,
    register_positive,
    softly_above,
)
from vaelab.ops import normal
from vaelab.parts import DENSITY

PIXEL, OPTIMAL = "pixel", "optimal"
MIN_LOG_SIGMA = MIN_LOG_SCALE
MSE_DECAY = 0.99  # of the running mean of the optimal sigma


class GaussianLikelihood(nn.Module):
    """p(x|z) = N(x; mean, sigma²) for x in [0, 1].

    The options of sigma, the calibrated decoders of sigma-VAE (Rybkin et al., 2021, arXiv:2006.13202), are

    - a number: the same for all pixels and all steps;
    - `learned`: one parameter for all pixels, starting near 1;
    - `pixel`: one for each pixel, a second output of the decoder;
    - `optimal`: while training sigma² is the mean squared error of the batch, where the likelihood of the batch is
      highest, a constant to the gradient, which is that of D/2 log MSE. The loss is then no mean over images, and the
      `elbo` of a training step chooses sigma by the images that it scores. An evaluation does not: there sigma² is the
      running mean of the steps' errors, which is kept with the weights, so that no image counts on its neighbours.

    What is no given number is kept from exp(-6) up, for a density on 256 levels has no upper bound.

    Args:
        sigma: the standard deviation of a pixel: a number, `learned`, `pixel` or `optimal`.

    Raises:
        ValueError: if sigma is neither a number from 1e-6 up nor one of these words.

    Examples:
        >>> likelihood = GaussianLikelihood("learned")
        >>> log_px = likelihood.log_prob(torch.zeros(2, 4, 3, 8, 8), torch.rand(4, 3, 8, 8))  # (2, 4)
    """

    pixels = MappingProxyType({"levels": DENSITY})

    def __init__(self, sigma: float | str) -> None:
        super().__init__()
        self.by_pixel, self.by_batch = sigma == PIXEL, sigma == OPTIMAL
        self.compiles = self.is_mean_over_images = not self.by_batch  # a step changes buffers in place
        if self.by_batch:  # a sum of weighted squared errors and that of the weights: a start at 1 that hardly counts
            self.register_buffer("squared_error", torch.tensor(1e-6))
            self.register_buffer("weight", torch.tensor(1e-6))
        elif not self.by_pixel:
            register_positive(self, "sigma", sigma, MIN_SCALE, (LEARNED, PIXEL, OPTIMAL))

    @property
    def log_sigma(self) -> Tensor:
        """log of the standard deviation that all pixels share, ()."""
        if self.by_batch:
            return _log_sigma(self.squared_error / self.weight)
        return log_positive(self, "sigma", MIN_LOG_SIGMA)

    def out_channels(self, channels: int) -> int:
        """One for each channel of the image, the mean; with a sigma by pixel its raw log too."""
        return 2 * channels if self.by_pixel else channels

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        """Log density summed over pixels, (K, B, M, H, W) and (B, C, H, W) -> (K, B)."""
        mean, log_sigma = self._moments(params)
        squared, dims = (x - mean).square(), x[0].numel()
        if self.by_pixel:
            nats = (0.5 * squared * torch.exp(-2 * log_sigma) + log_sigma).flatten(2).sum(-1)
            return -nats - 0.5 * dims * math.log(2 * math.pi)
        squared = squared.flatten(2).sum(-1)  # (K, B)
        if self.by_batch and self.training:
            log_sigma = self._best_for(squared / dims)
        return -0.5 * squared * torch.exp(-2 * log_sigma) - dims * (log_sigma + 0.5 * math.log(2 * math.pi))

    def mean(self, params: Tensor) -> Tensor:
        """The mean, cut to [0, 1], (N, C, H, W)."""
        return self._moments(params)[0].clamp(0, 1)

    def sample(self, params: Tensor, noise: torch.Generator) -> Tensor:
        """A draw, not cut to [0, 1], (N, C, H, W)."""
        mean, log_sigma = self._moments(params)
        return mean + log_sigma.exp() * normal(mean.shape, noise, mean.device)

    def _moments(self, params: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (..., C, H, W) and log sigma, in the same shape or ()."""
        if not self.by_pixel:
            return params, self.log_sigma
        mean, raw = params.chunk(2, dim=-3)  # (..., 2C, H, W) -> 2 x (..., C, H, W)
        return mean, softly_above(MIN_LOG_SIGMA, raw)

    @torch.no_grad()
    def _best_for(self, squared: Tensor) -> Tensor:
        """log sigma, (), where the likelihood of a batch with these squared errors (K, B) is highest.

        Both buffers move by what is a mean over the images, as ranks that share a batch need it.
        """
        error = squared.mean()
        self.squared_error.lerp_(error, 1 - MSE_DECAY)
        self.weight.lerp_(torch.ones_like(self.weight), 1 - MSE_DECAY)
        return _log_sigma(error)


def _log_sigma(squared_error: Tensor) -> Tensor:
    return 0.5 * squared_error.clamp(min=math.exp(2 * MIN_LOG_SIGMA)).log()

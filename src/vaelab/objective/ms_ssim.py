"""The similarity of images by structure, instead of a likelihood."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from vaelab.errors import UserError, check_number
from vaelab.parts import Model, Noise, Trace
from vaelab.vae import VAE

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the scales (Wang et al., 2003)
SIGMAS = {11: 1.5, 5: 0.5}  # of the Gaussian windows, by how many pixels they are wide
LUMINANCE, CONTRAST = 0.01**2, 0.03**2  # keep the quotients of dark and of even windows finite


class MSSSIM:
    """Structural dissimilarity, weight (1 - MS-SSIM(E[x|z], x)) + beta KL(q(z|x) || p(z)) - reconstruction log p(x|z).

    A mean over the images; what is compared is no likelihood, while the reported `elbo` stays the ELBO. Snell et al.,
    2017 (arXiv:1511.06409). Each scale is taken as (1 + SSIM) / 2, which keeps its powers differentiable, with a window
    of 11 pixels, or of 5 for images below 11; of the five scales those are used at which the window fits: two for 28 or
    32 pixels, and one, which is the SSIM, for 8. `ms_ssim` is reported. Further losses of the model are added.

    Args:
        image_shape: (C, H, W).
        weight: of the dissimilarity, which is from 0 to 1, in nats.
        beta: weight of the KL.
        reconstruction: weight of -log p(x|z); above 0 for a likelihood with parameters of its own, such as a learned
            sigma, which the mean alone does not train.

    Raises:
        ValueError: if a weight is negative or not finite.
        UserError: if an image has fewer than 5 pixels a side, or the model is not made of an encoder and a decoder.

    Examples:
        >>> objective = MSSSIM(image_shape=(1, 28, 28), weight=1000.0, beta=1.0, reconstruction=0.0)
        >>> loss, trace, terms = objective(vae, x, vae.noise(1, len(x), torch.Generator()))
    """

    is_mean_over_images = True
    compiles = True
    samples = 1

    def __init__(self, image_shape: Sequence[int], weight: float, beta: float, reconstruction: float) -> None:
        for name, value in {"weight": weight, "beta": beta, "reconstruction": reconstruction}.items():
            check_number(name, value, 0)
        window, scales = window_and_scales(min(image_shape[1:]))
        sizes = [tuple(side // 2**scale for side in image_shape[1:]) for scale in range(scales)]
        self._windows = [tuple(gaussian_windows(side, window) for side in size) for size in sizes]
        self.weight = weight
        self.beta = beta
        self.reconstruction = reconstruction

    def __call__(
        self, model: Model, x: Tensor, noise: Noise, step: Tensor | None = None, y: Tensor | None = None
    ) -> tuple[Tensor, Trace, dict[str, Tensor]]:
        """The loss (), the trace of the batch, and the similarity."""
        if not isinstance(model, VAE):
            raise UserError(
                f"MS-SSIM decodes latents itself, which needs a model of an encoder and a decoder, got "
                f"{type(model).__name__}; choose another objective"
            )
        trace = model(x, noise, y)
        similarity = self.similarity(model.likelihood.mean(model.decode(trace.latents[0].z[0], y)), x)
        loss = self.weight * (1 - similarity)
        if self.beta:
            loss = loss + self.beta * trace.kl.mean()
        if self.reconstruction:
            loss = loss - self.reconstruction * trace.log_px.mean()
        return sum(trace.losses.values(), loss), trace, {"ms_ssim": similarity}

    def similarity(self, means: Tensor, x: Tensor) -> Tensor:
        """MS-SSIM of images (B, C, H, W) in [0, 1], 1 for equal ones, a mean over them."""
        weights = WEIGHTS[: len(self._windows)]
        product = x.new_ones(len(x))  # (B,)
        for scale, (rows, columns) in enumerate(self._windows):
            similarity, contrast = _of_windows(means, x, rows.to(x.device), columns.to(x.device))
            is_last = scale == len(weights) - 1
            product = product * ((1 + (similarity if is_last else contrast)) / 2) ** (weights[scale] / sum(weights))
            if not is_last:
                means, x = F.avg_pool2d(means, 2), F.avg_pool2d(x, 2)
        return product.mean()


def _of_windows(a: Tensor, b: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """SSIM and its factor of contrast and structure, means over the windows of each image, (B,) each."""

    def mean(image: Tensor) -> Tensor:
        return rows @ image @ columns.T  # (B, C, H, W) -> (B, C, windows, windows)

    mean_a, mean_b = mean(a), mean(b)
    variances = mean(a.square() + b.square()) - mean_a.square() - mean_b.square()
    covariance = mean(a * b) - mean_a * mean_b
    contrast = (2 * covariance + CONTRAST) / (variances + CONTRAST)
    luminance = (2 * mean_a * mean_b + LUMINANCE) / (mean_a.square() + mean_b.square() + LUMINANCE)
    return (luminance * contrast).mean((1, 2, 3)), contrast.mean((1, 2, 3))


def gaussian_windows(side: int, width: int) -> Tensor:
    """Each row the weights of a window over a side of the image, (side - width + 1, side).

    A Gaussian of two dimensions is a product of two, and a product of matrices is a hundred times as quick here as a
    convolution with all of its window.
    """
    distances = torch.arange(width) - width // 2
    weights = torch.softmax(-0.5 * (distances / SIGMAS[width]).square(), 0)
    positions = torch.arange(side - width + 1).unsqueeze(1) + torch.arange(width)  # (windows, width)
    return torch.zeros(len(positions), side).scatter_(1, positions, weights.expand(len(positions), -1))


def window_and_scales(size: int) -> tuple[int, int]:
    """The largest window in pixels, and the most scales, for images of so many pixels; UserError if none fits."""
    for window in SIGMAS:
        if size >= window:
            return window, min(len(WEIGHTS), 1 + int(math.log2(size // window)))  # each scale halves the image
    raise UserError(
        f"MS-SSIM needs images of at least {min(SIGMAS)} pixels a side for its window, got {size}; choose another "
        f"objective"
    )

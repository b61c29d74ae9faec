"""The Bernoulli likelihood."""

from types import MappingProxyType

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from vaelab.errors import ArgumentError
from vaelab.ops import binarize, uniform_like
from vaelab.parts import CROSS_ENTROPY, MASS

AT_ONCE = 256  # images whose pixels are summed together


class BernoulliLikelihood(nn.Module):
    """p(x|z) = prod of Bernoulli(x; sigmoid(logits + offset)).

    On binary pixels this is a probability. On grey values in [0, 1], as tutorials use it, it is the cross-entropy,
    which is no likelihood: no bits per dimension follow from it (Loaiza-Ganem & Cunningham, 2019).

    The offset of a centred one, (C, H, W), is the logit of the mean training image, at least 0.001 and at most 0.999: a
    decoder begins with what all images share, as with the first output biases of Burda et al., 2016 (arXiv:1509.00519).

    Args:
        image_shape: (C, H, W).
        centred: false for no offset.

    Raises:
        ValueError: if `centred` is neither true nor false.

    Examples:
        >>> likelihood = BernoulliLikelihood((1, 28, 28), centred=False)
        >>> log_prob = likelihood.log_prob(torch.zeros(5, 2, 1, 28, 28), torch.ones(2, 1, 28, 28))  # (5, 2)
    """

    pixels = MappingProxyType({"binary": MASS, "levels": CROSS_ENTROPY})

    def __init__(self, image_shape: tuple[int, int, int], centred: bool) -> None:
        super().__init__()
        if not isinstance(centred, bool):
            raise ArgumentError("centred", f"must be true or false, got {centred!r}")
        self.register_buffer("offset", torch.zeros(image_shape) if centred else None)

    def start(self, images: Tensor) -> None:
        """Take the offset from the training images (N, C, H, W) uint8."""
        if self.offset is not None:
            # in one sum torch would copy all of them as int64
            total = sum(part.sum(0, dtype=torch.int64) for part in images.split(AT_ONCE))
            mean = total / (255 * len(images))
            self.offset.copy_(mean.clamp(0.001, 0.999).logit())

    def out_channels(self, channels: int) -> int:
        """One for each channel of the image."""
        return channels

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        """x log p + (1 - x) log(1 - p) summed over pixels, (K, B, C, H, W) and (B, C, H, W) -> (K, B)."""
        params = self.logits(params)
        cross_entropy = F.binary_cross_entropy_with_logits(params, x.expand_as(params), reduction="none")
        return -cross_entropy.flatten(2).sum(-1)

    def mean(self, params: Tensor) -> Tensor:
        """The probability of a 1, (N, C, H, W)."""
        return self.logits(params).sigmoid()

    def sample(self, params: Tensor, noise: torch.Generator) -> Tensor:
        """0 or 1, (N, C, H, W)."""
        probability = self.mean(params)
        return binarize(probability, uniform_like(probability, noise))

    def logits(self, params: Tensor) -> Tensor:
        """log p / (1 - p) of each pixel, in the shape of the parameters (..., C, H, W)."""
        return params if self.offset is None else params + self.offset

"""The Bernoulli likelihood."""

from types import MappingProxyType

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from vaelab.ops import binarize, uniform_like
from vaelab.parts import CROSS_ENTROPY, MASS


class BernoulliLikelihood(nn.Module):
    """p(x|z) = prod of Bernoulli(x; sigmoid(logits)).

    On binary pixels this is a probability. On grey values in [0, 1], as tutorials use it, it is the cross-entropy,
    which is no likelihood: no bits per dimension follow from it (Loaiza-Ganem & Cunningham, 2019).
    """

    pixels = MappingProxyType({"binary": MASS, "levels": CROSS_ENTROPY})

    def out_channels(self, channels: int) -> int:
        """One for each channel of the image."""
        return channels

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        """x log p + (1 - x) log(1 - p) summed over pixels, (K, B, C, H, W) and (B, C, H, W) -> (K, B)."""
        cross_entropy = F.binary_cross_entropy_with_logits(params, x.expand_as(params), reduction="none")
        return -cross_entropy.flatten(2).sum(-1)

    def mean(self, params: Tensor) -> Tensor:
        """The probability of a 1, (N, C, H, W)."""
        return params.sigmoid()

    def sample(self, params: Tensor, noise: torch.Generator) -> Tensor:
        """0 or 1, (N, C, H, W)."""
        probability = params.sigmoid()
        return binarize(probability, uniform_like(probability, noise))

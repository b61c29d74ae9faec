"""The categorical likelihood on 256 levels."""

from types import MappingProxyType

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from vaelab.likelihood.weighted_choice import choose
from vaelab.parts import MASS

LEVELS = 256


class CategoricalLikelihood(nn.Module):
    """Each pixel's level k of 0..255 has the mass softmax(logits)_k, with 256 logits for each pixel and channel.

    It knows nothing of levels being near each other (PixelRNN, van den Oord et al., 2016, arXiv:1601.06759). The
    decoder's output takes 256 times the memory of the images.

    Examples:
        >>> likelihood = CategoricalLikelihood()
        >>> log_px = likelihood.log_prob(torch.zeros(2, 4, 768, 8, 8), torch.zeros(4, 3, 8, 8))  # (2, 4)
    """

    pixels = MappingProxyType({"levels": MASS})

    def out_channels(self, channels: int) -> int:
        """256 for each channel of the image."""
        return LEVELS * channels

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        """Log mass summed over pixels, (K, B, 256 C, H, W) and (B, C, H, W) -> (K, B)."""
        logits = params.unflatten(-3, (LEVELS, -1))  # (K, B, 256, C, H, W)
        level = (x * (LEVELS - 1)).round().long().expand(params.shape[0], *x.shape)
        cross_entropy = F.cross_entropy(logits.flatten(0, 1), level.flatten(0, 1), reduction="none")
        return -cross_entropy.unflatten(0, params.shape[:2]).flatten(2).sum(-1)

    def mean(self, params: Tensor) -> Tensor:
        """E[x|z], (N, C, H, W)."""
        levels = torch.linspace(0, 1, LEVELS, device=params.device)
        mean = torch.einsum("nkchw,k->nchw", params.unflatten(-3, (LEVELS, -1)).softmax(1), levels)
        return mean.clamp(max=1)  # the masses sum to one up to rounding

    def sample(self, params: Tensor, noise: torch.Generator) -> Tensor:
        """One of the 256 levels k / 255, (N, C, H, W)."""
        return choose(params.unflatten(-3, (LEVELS, -1)), noise, dim=1).squeeze(1) / (LEVELS - 1)

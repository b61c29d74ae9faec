"""The mixture of discretized logistics, whose channels depend on each other."""

import math
from types import MappingProxyType

import torch
from torch import Tensor, nn

from vaelab.errors import check_integer
from vaelab.likelihood.discretized_logistic import draw, expectation, log_mass
from vaelab.likelihood.weighted_choice import choose
from vaelab.ops import uniform_like
from vaelab.parts import MASS


class DiscretizedLogisticMixtureLikelihood(nn.Module):
    """Each pixel has the mass of a mixture of discretized logistics, in which a channel depends on those before it.

    p(r, g, b) = sum_i w_i p_i(r) p_i(g|r) p_i(b|r, g): all channels of a pixel choose one component, in which each is a
    discretized logistic on [-1, 1] as in `logistic`, its centre moved by tanh(c) times the value of each channel
    before (PixelCNN++, Salimans et al., 2017, arXiv:1701.05517). For M components and C channels the decoder gives
    M (C + 1) (C + 2) / 2 numbers a pixel: centres, log scales, C (C - 1) / 2 couplings c, log weights. The centres of
    all components but the first are relative to those of the first, which are the first C: what a network adds to
    these, such as a linear path, moves all.

    Args:
        components: M, of the mixture.

    Raises:
        ValueError: if the number of components is no integer from 1 up.

    Examples:
        >>> likelihood = DiscretizedLogisticMixtureLikelihood(components=10)
        >>> log_px = likelihood.log_prob(torch.zeros(2, 4, 100, 8, 8), torch.zeros(4, 3, 8, 8))  # (2, 4)
    """

    pixels = MappingProxyType({"levels": MASS})

    def __init__(self, components: int) -> None:
        super().__init__()
        check_integer("components", components, 1)
        self.components = components

    def out_channels(self, channels: int) -> int:
        """10 for each component of an RGB image, 3 of a grey one."""
        return self.components * (channels + 1) * (channels + 2) // 2

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        """Log mass summed over pixels, (K, B, out_channels, H, W) and (B, C, H, W) -> (K, B)."""
        log_weights, centres, log_scales, couplings = self._split(params)
        levels = x.unsqueeze(2).unbind(1)  # C x (B, 1, H, W)
        joint = log_weights.log_softmax(-3)  # (K, B, components, H, W)
        for channel, level in enumerate(levels):
            before = [2 * each - 1 for each in levels[:channel]]
            joint = joint + log_mass(level, _moved(centres, couplings, before), log_scales[channel])
        return joint.logsumexp(-3).flatten(2).sum(-1)

    def mean(self, params: Tensor) -> Tensor:
        """E[x|z], (N, C, H, W), up to half a level for the first channel, the only one of a grey image.

        Those that follow have, in each component, their expectation given the expectations of the channels before,
        which is theirs as well up to what is cut off at 0 and 1.
        """
        log_weights, centres, log_scales, couplings = self._split(params)
        found: list[Tensor] = []
        for log_scale in log_scales:
            found.append(expectation(_moved(centres, couplings, found), log_scale))
        values = torch.stack(found, -4)  # (N, C, components, H, W)
        return (0.5 * (values * log_weights.softmax(-3).unsqueeze(-4)).sum(-3) + 0.5).clamp(0, 1)

    def sample(self, params: Tensor, noise: torch.Generator) -> Tensor:
        """One of the 256 levels k / 255, (N, C, H, W), one channel after the other."""
        log_weights, centres, log_scales, couplings = self._split(params)
        chosen = choose(log_weights, noise, dim=-3)  # (N, 1, H, W)
        centres, log_scales, couplings = (
            [each.take_along_dim(chosen, -3) for each in group] for group in (centres, log_scales, couplings)
        )
        drawn: list[Tensor] = []
        for log_scale in log_scales:
            centre = _moved(centres, couplings, [2 * each - 1 for each in drawn])
            drawn.append(draw(centre, log_scale, uniform_like(centre, noise)))
        return torch.cat(drawn, -3)

    def _split(self, params: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor], list[Tensor]]:
        """Log weights, and by channel centres and log scales, and couplings, each (..., components, H, W)."""
        kinds = len(params.unflatten(-3, (-1, self.components)).unbind(-4))  # (C + 1) (C + 2) / 2
        channels = (math.isqrt(8 * kinds + 1) - 3) // 2
        by_component = params[..., : channels * self.components, :, :].unflatten(-3, (self.components, channels))
        first, others = by_component[..., :1, :, :, :], by_component[..., 1:, :, :, :]
        centres = torch.cat([first, first + others], -4).unbind(-3)  # C x (..., components, H, W)
        by_kind = params[..., channels * self.components :, :, :].unflatten(-3, (-1, self.components)).unbind(-4)
        log_scales, couplings = by_kind[:channels], by_kind[channels:-1]
        return by_kind[-1], list(centres), list(log_scales), list(couplings)


def _moved(centres: list[Tensor], couplings: list[Tensor], before: list[Tensor]) -> Tensor:
    """The centre of the channel after those `before`, which lie on [-1, 1]."""
    channel = len(before)
    first = channel * (channel - 1) // 2
    pairs = zip(couplings[first : first + channel], before, strict=True)
    return sum((torch.tanh(coupling) * value for coupling, value in pairs), centres[channel])

"""The angle between a direction drawn from a von Mises-Fisher density and its mean direction."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

CELLS = 32
NODES, WEIGHTS = (each.tolist() for each in np.polynomial.legendre.leggauss(4))  # on [-1, 1]
REACH = 14  # widths of the mode that are integrated on either side of it; beyond lies less than 1e-8
STEPS = 8  # of Newton's method, inside a cell that is less than a width long
LEAST_DENSITY = 1e-12  # as a part of the mode's, below which a gradient would be one of rounding
TINY = 1e-30


@dataclass(frozen=True)
class Angle:
    """The density of the angle t in [0, pi], proportional to g(t) = exp(k (cos t - 1)) sin(t)^(D-2).

    In the angle, and not in its cosine, g is smooth for each D of at least 2. It is integrated by Gauss and Legendre's
    rule in cells around its mode, and its quantiles are found by Newton's steps inside a cell; gradients with respect
    to k are those of the integrals (Figurnov et al., 2018, arXiv:1805.08498).

    Args:
        concentration: k, at least 0, (..., 1).
        dim: D.
    """

    concentration: Tensor
    dim: int

    @property
    def log_total(self) -> Tensor:
        """log of the integral of g, (...)."""
        return self._masses.sum(-1).log() + self._peak.squeeze(-1)

    @property
    def mean_versine(self) -> Tensor:
        """E[1 - cos t], (...)."""
        parts = self._integrals(self._edges[..., :-1], self._edges[..., 1:], lambda t: self._g(t) * _versine(t))
        return parts.sum(-1) / self._masses.sum(-1)

    def quantile(self, u: Tensor) -> Tensor:
        """The angles below which lie probabilities u (..., 1), with gradients to u and k."""
        cumulative = F.pad(self._masses.cumsum(-1), (1, 0))  # (..., CELLS + 2)
        total = cumulative[..., -1:]
        cell = (u * total >= cumulative[..., 1:-1]).sum(-1, keepdim=True)  # (..., 1)
        low, high, below = _at(self._edges, cell), _at(self._edges, cell + 1), _at(cumulative, cell)
        with torch.no_grad():
            angle = self._solve(low, high, below, u * total)
            density = self._g(angle)
            slope = torch.where(density > LEAST_DENSITY, total / density, 0)
        off = slope * ((below + self._integrals(low, angle, self._g)) / total - u)  # 0, but for its gradient
        return angle - (off - off.detach())

    def _solve(self, start: Tensor, end: Tensor, below: Tensor, mass: Tensor) -> Tensor:
        """Where the integral of g is `mass`, in a cell from start to end with as much as `below` before it.

        Newton's steps are of the logarithms: near 0 the integral is a power of the angle.
        """
        low, high, angle = start, end, (start + end) / 2
        for _ in range(STEPS):
            found = below + self._integrals(start, angle, self._g)
            low, high = torch.where(found < mass, angle, low), torch.where(found < mass, high, angle)
            step = (mass / found).log() * found / (angle * self._g(angle))
            newton = angle * step.exp()
            angle = torch.where((newton >= low) & (newton <= high), newton, (low + high) / 2)
        return angle

    @cached_property
    def _masses(self) -> Tensor:
        """Of the cells, as `_integrals` gives them, (..., CELLS + 1)."""
        return self._integrals(self._edges[..., :-1], self._edges[..., 1:], self._g)

    @cached_property
    def _edges(self) -> Tensor:
        """Of a cell from 0 to where g begins, and of the cells around its mode, (..., CELLS + 2)."""
        with torch.no_grad():
            scale = self._scale
            width = REACH / (self.concentration.square() / scale + scale).sqrt()
            low, high = (self._mode - width).clamp(min=0), (self._mode + width).clamp(max=math.pi)
            parts = torch.linspace(0, 1, CELLS + 1, dtype=low.dtype, device=low.device)
            return F.pad(low + (high - low) * parts, (1, 0))

    @cached_property
    def _peak(self) -> Tensor:
        """log g of the mode, (..., 1)."""
        return self._log_g(self._mode.detach())

    @property
    def _mode(self) -> Tensor:
        """Where g is largest: k sin(t)^2 = (D - 2) cos(t)."""
        return torch.atan2(((self.dim - 2) / self._scale).sqrt(), self.concentration / self._scale)

    @property
    def _scale(self) -> Tensor:
        half = (self.dim - 2) / 2
        return (half + (half**2 + self.concentration.square()).sqrt()).clamp(min=TINY)

    @staticmethod
    def _integrals(low: Tensor, high: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        """Of a function from low to high, by Gauss and Legendre's rule."""
        half, middle = (high - low) / 2, (high + low) / 2
        return half * sum(weight * function(middle + half * node) for node, weight in zip(NODES, WEIGHTS, strict=True))

    def _g(self, angle: Tensor) -> Tensor:
        """g as a part of the mode's."""
        return (self._log_g(angle) - self._peak).exp()

    def _log_g(self, angle: Tensor) -> Tensor:
        return (self.dim - 2) * angle.sin().clamp(min=TINY).log() - self.concentration * _versine(angle)


def _versine(angle: Tensor) -> Tensor:
    """1 - cos(t), to all digits where t is small."""
    return 2 * (angle / 2).sin().square()


def _at(values: Tensor, index: Tensor) -> Tensor:
    """values (..., N) of each index (..., 1), where they broadcast."""
    return values.expand(*index.shape[:-1], -1).gather(-1, index)

"""The steps of a normalizing flow, invertible maps of z whose parameters depend on the image: planar and Sylvester.

Each takes z (..., B, D) to (z, log |det|) in one pass, and back; what it takes to go back differs.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

LEAST_SLOPE = 1e-3  # of a map along any direction that it changes, so that it stays invertible in float32
AT_FIRST = 0.1  # of torch's initial weights: a flow starts near the identity, and away from 0, where no gradient is
HALVINGS, REFINEMENTS = 16, 2


class Step(Protocol):
    """An invertible map of z; a small frozen object of tensors."""

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The mapped z, (..., B, D), and log |det of the Jacobian|, (..., B)."""

    def inverse(self, z: Tensor) -> Tensor:
        """What `forward` maps to z."""

    def detached(self) -> "Step":
        """The same map, whose parameters get no gradient."""


class PlanarFlow(nn.Module):
    """Planar flow (Rezende & Mohamed, 2015, arXiv:1505.05770): z + u tanh(w^T z + b), with u, w and b linear in h.

    For w^T u > -1 u is moved along w as in its appendix, by a function of w^T u that is 0 at 0, so that a small u is a
    small step. Back takes the root of an increasing function of one number, w^T z.
    """

    def __init__(self, in_features: int, latent_dim: int, transforms: int) -> None:
        super().__init__()
        self.sizes = (latent_dim, latent_dim, 1)
        self.head = shrink(nn.Linear(in_features, transforms * sum(self.sizes)))

    def forward(self, h: Tensor) -> tuple[Step, ...]:
        """The steps of features h (B, F)."""
        of_steps = self.head(h).split(sum(self.sizes), -1)
        return tuple(_planar(*of_step.split(self.sizes, -1)) for of_step in of_steps)


def _planar(u: Tensor, w: Tensor, b: Tensor) -> "Planar":
    product = (w * u).sum(-1, keepdim=True)  # (B, 1)
    softplus = nn.functional.softplus(product + math.log(math.e - 1))  # 1 at 0
    wanted = (1 - LEAST_SLOPE) * (softplus - 1)
    missing = (wanted - product) / w.square().sum(-1, keepdim=True).clamp(min=1e-12)
    return Planar(u + missing * w, w, b, wanted)


@dataclass(frozen=True)
class Planar:
    """z + u tanh(w^T z + b) with w^T u > -1: u and w (B, D), b and w^T u, which a sum would round, (B, 1)."""

    u: Tensor
    w: Tensor
    b: Tensor
    w_u: Tensor

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The mapped z and log |det| = log(1 + (1 - tanh^2) w^T u)."""
        tanh = self._inside(z).tanh()
        slope = 1 + (1 - tanh.square()) * self.w_u
        return z + self.u * tanh, slope.log().squeeze(-1)

    def inverse(self, z: Tensor) -> Tensor:
        """What is mapped to z: a = w^T z + b before the step makes a + w^T u tanh(a) after it."""
        return z - self.u * solve(self.w_u, self._inside(z)).tanh()

    def detached(self) -> "Planar":
        """The same map, whose parameters get no gradient."""
        return Planar(self.u.detach(), self.w.detach(), self.b.detach(), self.w_u.detach())

    def _inside(self, z: Tensor) -> Tensor:
        return (self.w * z).sum(-1, keepdim=True) + self.b


class SylvesterFlow(nn.Module):
    """Triangular Sylvester flow (van den Berg et al., 2018, arXiv:1803.05649): z + P^T R tanh(S P z + b).

    R and S are upper triangular, they and b linear in h, with |diagonals| < 1 by a tanh; P, the paper's Q, is the
    identity and the reversal of the dimensions in turn (its T-SNF; neither the orthogonal nor the Householder Q). Back
    takes one root of an increasing function of one number for each dimension, the last first.
    """

    def __init__(self, in_features: int, latent_dim: int, transforms: int) -> None:
        super().__init__()
        self.sizes = (latent_dim**2, latent_dim, latent_dim)
        self.head = shrink(nn.Linear(in_features, transforms * sum(self.sizes)))

    def forward(self, h: Tensor) -> tuple[Step, ...]:
        """The steps of features h (B, F)."""
        of_steps = self.head(h).split(sum(self.sizes), -1)
        return tuple(_sylvester(i % 2 == 1, *of_step.split(self.sizes, -1)) for i, of_step in enumerate(of_steps))


def _sylvester(flips: bool, square: Tensor, diagonal: Tensor, b: Tensor) -> "Sylvester":
    """The step whose R is the upper triangle of a square matrix, flat (B, D^2), and S the lower one with a diagonal."""
    both = square.unflatten(-1, (b.shape[-1], b.shape[-1]))
    r = both.triu(1) + _bounded(both.diagonal(dim1=-2, dim2=-1)).diag_embed()
    s = both.mT.triu(1) + _bounded(diagonal).diag_embed()
    return Sylvester(r, s, b, flips)


def _bounded(diagonal: Tensor) -> Tensor:
    return (1 - LEAST_SLOPE) * diagonal.tanh()


@dataclass(frozen=True)
class Sylvester:
    """z + P^T R tanh(S P z + b): r and s upper triangular (B, D, D), b (B, D); whether P turns the dimensions round."""

    r: Tensor
    s: Tensor
    b: Tensor
    flips: bool

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The mapped z and log |det|, the sum of log(1 + (1 - tanh^2) R_ii S_ii)."""
        tanh = (_times(self.s, self._turned(z)) + self.b).tanh()
        diagonals = self.r.diagonal(dim1=-2, dim2=-1) * self.s.diagonal(dim1=-2, dim2=-1)
        slopes = 1 + (1 - tanh.square()) * diagonals
        return z + self._turned(_times(self.r, tanh)), slopes.log().sum(-1)

    def inverse(self, z: Tensor) -> Tensor:
        """What is mapped to z: a = (S P z + b)_i solves a + R_ii S_ii tanh(a) = what dimensions after i tell."""
        z = self._turned(z)
        found, tanh = z[..., :0], z[..., :0]  # of the dimensions after i
        for i in reversed(range(z.shape[-1])):
            r, s = self.r[:, i, i], self.s[:, i, i]
            rest = z[..., i] - (self.r[:, i, i + 1 :] * tanh).sum(-1)
            others = (self.s[:, i, i + 1 :] * found).sum(-1) + self.b[:, i]
            tanh_i = solve(r * s, others + s * rest).tanh()
            tanh = torch.cat([tanh_i.unsqueeze(-1), tanh], -1)
            found = torch.cat([(rest - r * tanh_i).unsqueeze(-1), found], -1)
        return self._turned(found)

    def detached(self) -> "Sylvester":
        """The same map, whose parameters get no gradient."""
        return Sylvester(self.r.detach(), self.s.detach(), self.b.detach(), self.flips)

    def _turned(self, z: Tensor) -> Tensor:
        return z.flip(-1) if self.flips else z


def solve(k: Tensor, target: Tensor) -> Tensor:
    """a of a + k tanh(a) = target for k > -1, elementwise, by bisection and then Newton's method.

    The last step of Newton's, at the solution, is the only one with a gradient, which by that is the exact one.
    """
    k, target = torch.broadcast_tensors(k, target)
    with torch.no_grad():
        a, width = target, k.abs()  # a lies within k of the target
        for _ in range(HALVINGS):
            width = width / 2
            a = a + width * (target - a - k * a.tanh()).sign()
        for _ in range(REFINEMENTS):
            a = _newton(a, k, target)
    return _newton(a, k, target)


def _newton(a: Tensor, k: Tensor, target: Tensor) -> Tensor:
    tanh = a.tanh()
    return a - (a + k * tanh - target) / (1 + k * (1 - tanh.square()))


def _times(matrices: Tensor, z: Tensor) -> Tensor:
    return torch.einsum("bij,...bj->...bi", matrices, z)


@torch.no_grad()
def shrink(layer: nn.Linear) -> nn.Linear:
    """The layer with weights small enough for a flow to start near the identity."""
    layer.weight.mul_(AT_FIRST)
    layer.bias.mul_(AT_FIRST)
    return layer

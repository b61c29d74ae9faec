"""Normalizing flows as priors."""

from collections.abc import Sequence
from dataclasses import dataclass

import zuko
from torch import Tensor, nn
from torch.func import functional_call

from vaelab.distributions import Distribution, StandardNormal
from vaelab.errors import ArgumentError, check_choice, check_integer
from vaelab.parts import Infer

KINDS = ("realnvp", "nsf")
PASSES = 2  # that the inverse of a coupling takes, as many as it has halves


class FlowPrior(nn.Module):
    """Normalizing flow, log p(z) = log N(f(z); 0, I) + log |det df/dz|, of couplings as zuko has them.

    `realnvp`: affine couplings (Dinh et al., 2017, arXiv:1605.08803). `nsf`: rational-quadratic splines in [-5, 5] and
    the identity beyond (Durkan et al., 2019, arXiv:1906.04032). Density and samples take one pass each. As a prior of
    a VAE: Chen et al., 2017 (arXiv:1611.02731). Of one dimension, which has no halves, f has no networks.

    Args:
        latent_dim: D.
        kind: `realnvp` or `nsf`.
        transforms: how many couplings f is made of.
        hidden: widths of the layers of the network in each.

    Raises:
        ValueError: if the kind is unknown, `hidden` is no list, or a count or width is less than one.

    Examples:
        >>> p = FlowPrior(latent_dim=2, kind="nsf", transforms=4, hidden=[64, 64])(infer=None)
        >>> z, log_p = p.draw(torch.randn(8, 4, 2))  # (8, 4, 2), (8, 4)
    """

    def __init__(self, latent_dim: int, kind: str, transforms: int, hidden: Sequence[int]) -> None:
        super().__init__()
        check_choice("kind", kind, KINDS)
        check_integer("transforms", transforms, 1)
        if not isinstance(hidden, list | tuple):
            raise ArgumentError("hidden", f"must be a list of integers of at least 1, got {hidden!r}")
        for width in hidden:
            check_integer("hidden", width, 1)
        sizes = {"transforms": transforms, "hidden_features": tuple(hidden)}
        if kind == "nsf":
            flow = zuko.flows.NSF(latent_dim, passes=PASSES, **sizes)
        else:
            flow = zuko.flows.RealNVP(latent_dim, **sizes)
        if latent_dim == 1:
            for parameter in flow.parameters():  # zuko's N(0, 1) would be a density of spikes
                nn.init.normal_(parameter, std=0.01)
        self.bijection = Bijection(flow.transform)

    def forward(self, infer: Infer) -> "Flow":
        """The density, whatever posteriors are."""
        return Flow(self.bijection)


class Bijection(nn.Module):
    """f or its inverse, with log |det| of its Jacobian, (..., D) -> (..., D), (...)."""

    def __init__(self, transform: zuko.lazy.LazyTransform) -> None:
        super().__init__()
        self.transform = transform

    def forward(self, values: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        """The values after the transform or its inverse."""
        transform = self.transform()
        return (transform.inv if inverse else transform).call_and_ladj(values)


@dataclass(frozen=True)
class Flow:
    """The density of z for which f(z) is standard normal.

    Args:
        bijection: f.
        is_detached: whether its parameters get no gradient.
    """

    bijection: Bijection
    is_detached: bool = False

    def draw(self, eps: Tensor) -> tuple[Tensor, Tensor]:
        """z = f^-1(eps), and log p(z)."""
        z, log_det = self._apply(eps, inverse=True)
        return z, StandardNormal().log_prob(eps) - log_det

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z), (..., D) -> (...)."""
        eps, log_det = self._apply(z, inverse=False)
        return StandardNormal().log_prob(eps) + log_det

    def kl(self, other: Distribution) -> None:
        """None: no closed form is known."""

    def detached(self) -> "Flow":
        """The same density, whose parameters get no gradient."""
        return Flow(self.bijection, is_detached=True)

    def _apply(self, values: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        if not self.is_detached:
            return self.bijection(values, inverse)
        parameters = {name: value.detach() for name, value in self.bijection.named_parameters()}
        return functional_call(self.bijection, parameters, (values, inverse))

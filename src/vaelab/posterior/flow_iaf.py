"""Inverse autoregressive steps of a normalizing flow."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.func import functional_call
from zuko.flows import MaskedAutoregressiveTransform

from vaelab.posterior.flow_steps import Step, shrink


class IAF(nn.Module):
    """Inverse autoregressive flow (Kingma et al., 2016, arXiv:1606.04934): z_i exp(s_i) + m_i, by all z before i.

    m and s are those of zuko's masked network, which sees a context linear in h, too; s is softly bounded to
    |s| < log 1000 in place of the paper's gate. Every other step runs through the dimensions backwards. Back takes D
    passes of the network, one for each dimension.
    """

    def __init__(self, in_features: int, latent_dim: int, transforms: int, hidden: Sequence[int], context: int) -> None:
        super().__init__()
        self.context = nn.Linear(in_features, context)
        order = torch.arange(latent_dim)
        orders = (order, order.flip(0))
        self.networks = nn.ModuleList(Masked(context, orders[i % 2], hidden) for i in range(transforms))

    def forward(self, h: Tensor) -> tuple[Step, ...]:
        """The steps of features h (B, F)."""
        context = self.context(h)
        return tuple(Autoregressive(network, context) for network in self.networks)


class Masked(nn.Module):
    """A masked autoregressive transform of z given a context, forwards or back."""

    def __init__(self, context: int, order: Tensor, hidden: Sequence[int]) -> None:
        super().__init__()
        self.transform = MaskedAutoregressiveTransform(len(order), context, order=order, hidden_features=hidden)
        shrink(self.transform.hyper[-1])

    def forward(self, z: Tensor, context: Tensor, back: bool) -> tuple[Tensor, Tensor] | Tensor:
        """As the methods of `Step`."""
        transform = self.transform(context)
        return transform.inv(z) if back else transform.call_and_ladj(z)


@dataclass(frozen=True)
class Autoregressive:
    """One step of IAF: a network, the context (B, C), and whether the network's weights get a gradient."""

    network: Masked
    context: Tensor
    trains: bool = True

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The mapped z and log |det|, the sum of s."""
        return self._call(z, back=False)

    def inverse(self, z: Tensor) -> Tensor:
        """What is mapped to z, a dimension after the other."""
        return self._call(z, back=True)

    def detached(self) -> "Autoregressive":
        """The same map, whose parameters get no gradient."""
        return replace(self, context=self.context.detach(), trains=False)

    def _call(self, z: Tensor, back: bool) -> tuple[Tensor, Tensor] | Tensor:
        weights = {} if self.trains else {name: each.detach() for name, each in self.network.named_parameters()}
        return functional_call(self.network, weights, (z, self.context, back))

"""Mixtures of densities of one family."""

from dataclasses import dataclass, fields, is_dataclass

import torch
from torch import Tensor

from vaelab.distributions.contract import Distribution
from vaelab.distributions.precision import wide

NEAREST = 1e-12  # to 0 and 1 of what the quantile function of the normal distribution is asked for


@dataclass(frozen=True)
class Mixture:
    """The mixture density sum_c w_c p_c(z) of C densities of one family.

    Args:
        components: C of them in one object, a dataclass whose tensors are led by C, such as a Normal of (C, D).
        logits: of the weights, w = softmax(logits), (C,).

    Examples:
        >>> p = Mixture(Normal(torch.randn(10, 2), torch.zeros(10, 2)), torch.zeros(10))
        >>> z, log_p = p.draw(torch.randn(8, 4, 2))  # (8, 4, 2), (8, 4)
    """

    components: Distribution
    logits: Tensor

    def draw(self, eps: Tensor) -> tuple[Tensor, Tensor]:
        """Samples and log p of them, by noise whose first coordinate chooses the component.

        What is left of that coordinate is again standard normal, and goes to the component with the others. The
        choice jumps, so that no gradient reaches the weights through z, and the components' is that of their samples.
        """
        z = self.draw_at(eps, 1.0)
        return z, self.log_prob(z)

    def draw_at(self, eps: Tensor, temperature: float) -> Tensor:
        """Samples whose noise within the components is scaled; the choice of a component is as at 1."""
        chosen, first = self._choose(eps[..., 0])
        within = torch.cat([first.unsqueeze(-1), eps[..., 1:]], dim=-1)
        return _pick(self.components, chosen).draw(temperature * within)[0]

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z), (..., D) -> (...)."""
        each = self.components.log_prob(z.unsqueeze(-2))  # (..., C)
        return torch.logsumexp(each + self.logits.log_softmax(0), dim=-1)

    def kl(self, other: Distribution) -> None:
        """None: no closed form is known."""

    def detached(self) -> "Mixture":
        """The same density, whose parameters get no gradient."""
        return Mixture(self.components.detached(), self.logits.detach())

    @torch.no_grad()
    def _choose(self, eps: Tensor) -> tuple[Tensor, Tensor]:
        """A component each of normal numbers (...), and normal numbers that are independent of the choice."""
        weights = wide(self.logits).softmax(0)
        ends = weights.cumsum(0)
        u = torch.special.ndtr(wide(eps))
        chosen = torch.searchsorted(ends[:-1].contiguous(), u.contiguous())
        left = (u - (ends - weights)[chosen]) / weights[chosen]
        return chosen, torch.special.ndtri(left.clamp(NEAREST, 1 - NEAREST)).to(eps.dtype)


def is_mixable(components: object) -> bool:
    """Whether a density is a dataclass of tensors led by one dimension, so that those of a mixture can be picked."""
    return is_dataclass(components) and all(
        isinstance(value, Tensor) and value.dim() > 1 for value in _values(components)
    )


def _pick(components: Distribution, chosen: Tensor) -> Distribution:
    return type(components)(*(value[chosen] for value in _values(components)))


def _values(components: object) -> list[object]:
    return [getattr(components, field.name) for field in fields(components) if field.init]

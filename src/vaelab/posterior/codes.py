"""What posteriors of discrete codes share: the chosen codes, and the uniform distribution over all of them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from vaelab.distributions import Distribution
from vaelab.errors import UserError


@dataclass(frozen=True)
class Codes:
    """Codes chosen for each image, without a density.

    Attributes:
        z: their vectors one after another, (B, D).
        codes: which they are, (B, n), each of 0 to `num_codes` - 1.
        num_codes: how many there are to choose from.
        losses: to be added to the objective's, each a mean over the images, ().
    """

    z: Tensor
    codes: Tensor
    num_codes: int
    losses: Mapping[str, Tensor] = field(default_factory=dict)

    def draw(self, eps: Tensor) -> tuple[Tensor, None]:
        """The codes' vectors, whatever the noise (K, B, D), and no density."""
        return self.z.expand(eps.shape), None

    def log_prob(self, z: Tensor) -> Tensor:
        """Raises UserError: there is no density."""
        raise UserError("discrete codes have no density; choose objective=rae, or a posterior with a density")

    def kl(self, other: Distribution) -> None:
        """None: there is no density."""

    def detached(self) -> "Codes":
        """The same codes, whose vectors get no gradient."""
        return Codes(self.z.detach(), self.codes, self.num_codes)


@dataclass(frozen=True)
class UniformCodes:
    """n codes, each uniform over the rows of a table (N, d): z (..., n d) of probability N^-n.

    A learned prior over codes makes better samples; this one needs no second training.

    Examples:
        >>> p = UniformCodes(torch.randn(512, 4))
        >>> z, log_p = p.draw(torch.randn(8, 20))  # (8, 20), five codes each; (8,), all -5 log 512
    """

    table: Tensor

    def draw(self, eps: Tensor) -> tuple[Tensor, Tensor]:
        """Codes of standard normal noise (..., D), whose first number for each code gives its row; log p of them."""
        rows, size = self.table.shape
        uniform = torch.special.ndtr(eps[..., ::size])  # (..., n)
        chosen = (uniform * rows).long().clamp(max=rows - 1)  # a number far out is rounded to 1
        return self.table[chosen].flatten(-2), self.log_prob(eps)

    def log_prob(self, z: Tensor) -> Tensor:
        """log of the probability, no density, of z made of codes, (..., D) -> (...)."""
        rows, size = self.table.shape
        return z.new_full(z.shape[:-1], -(z.shape[-1] // size) * math.log(rows))

    def kl(self, other: Distribution) -> None:
        """None: nothing in vaelab draws a posterior from it."""

    def detached(self) -> "UniformCodes":
        """The same, whose codes get no gradient."""
        return UniformCodes(self.table.detach())

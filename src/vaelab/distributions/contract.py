"""The contract of a distribution over latents."""

from typing import Protocol

from torch import Tensor


class Distribution(Protocol):
    """A density p(z) as a small frozen object of tensors.

    One that brings losses of its own, as a codebook does, has them in `losses`: by name, means over the images, ().
    One whose noise also makes choices, as a mixture's, has `draw_at(eps, temperature)`, samples whose choices stay.
    One that factorises also has `factors(z)`, log p by dimension, (..., D) -> (..., D).
    """

    def draw(self, eps: Tensor) -> tuple[Tensor, Tensor | None]:
        """Samples and log p of them in one pass, which a flow must: standard normal eps (..., D) -> (..., D), (...).

        A distribution without a density, such as a point, gives None for log p.
        """

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z), (..., D) -> (...)."""

    def kl(self, other: "Distribution") -> Tensor | None:
        """KL(self || other) by dimension, (B, D), or (B, 1); None where no closed form is known for the pair."""

    def detached(self) -> "Distribution":
        """The same density, whose parameters get no gradient."""


def draw_at(p: Distribution, eps: Tensor, temperature: float) -> Tensor:
    """Samples of p, (..., D), by noise that a temperature scales."""
    return p.draw_at(eps, temperature) if hasattr(p, "draw_at") else p.draw(temperature * eps)[0]

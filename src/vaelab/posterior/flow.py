"""Normalizing-flow posteriors."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from vaelab.distributions import Distribution, Normal
from vaelab.errors import ArgumentError, check_choice, check_integer
from vaelab.posterior.flow_iaf import IAF
from vaelab.posterior.flow_steps import PlanarFlow, Step, SylvesterFlow

KINDS = ("iaf", "planar", "sylvester")


class FlowPosterior(nn.Module):
    """Normalizing flow: a diagonal normal q0(z|x), then invertible maps (Rezende & Mohamed, 2015, arXiv:1505.05770).

    log q(z_T|x) = log q0(z_0|x) - sum_t log |det dz_t / dz_t-1|, in nats. The maps by `kind`, all of which start near
    the identity:

    - `iaf`: inverse autoregressive (Kingma et al., 2016, arXiv:1606.04934).
    - `planar`: z + u tanh(w^T z + b) (Rezende & Mohamed, 2015).
    - `sylvester`: triangular Sylvester (van den Berg et al., 2018, arXiv:1803.05649).

    Samples take one pass. `log_prob` of any other z, which estimators such as STL and DReG need, inverts the maps: for
    iaf D passes of each network, for planar a root of one number, for sylvester D such roots one after another.

    Args:
        in_features: F of the encoder.
        latent_dim: D.
        kind: of the maps.
        transforms: how many.
        hidden: of iaf, sizes of each masked network's hidden layers.
        context: of iaf, numbers that it is told of the image.

    Raises:
        ValueError: if there is no such kind or a size is no positive integer.

    Examples:
        >>> posterior = FlowPosterior(16, latent_dim=2, kind="iaf", transforms=2, hidden=[32], context=8)
        >>> z, log_q = posterior(torch.zeros(4, 16)).draw(torch.randn(8, 4, 2))  # (8, 4, 2), (8, 4)
    """

    def __init__(
        self, in_features: int, latent_dim: int, kind: str, transforms: int, hidden: Sequence[int], context: int
    ) -> None:
        super().__init__()
        check_choice("kind", kind, KINDS)
        check_integer("transforms", transforms, 1)
        check_integer("context", context, 1)
        if not isinstance(hidden, list | tuple) or not hidden or any(type(n) is not int or n < 1 for n in hidden):
            raise ArgumentError("hidden", f"must be a list of at least one positive integer, got {hidden!r}")
        self.heads = nn.Linear(in_features, 2 * latent_dim)
        if kind == "iaf":
            self.steps = IAF(in_features, latent_dim, transforms, hidden, context)
        else:
            self.steps = {"planar": PlanarFlow, "sylvester": SylvesterFlow}[kind](in_features, latent_dim, transforms)

    def forward(self, h: Tensor) -> "Flow":
        """q(z|x) of features h (B, F)."""
        mean, log_var = self.heads(h).chunk(2, dim=-1)  # (B, 2D) -> 2 x (B, D)
        return Flow(Normal(mean, log_var), self.steps(h))


@dataclass(frozen=True)
class Flow:
    """The density of z that invertible steps make of another density's."""

    base: Normal
    steps: tuple[Step, ...]

    def draw(self, eps: Tensor) -> tuple[Tensor, Tensor]:
        """Samples of standard normal eps (K, B, D), and log q of them (K, B), in one pass."""
        z, log_q = self.base.draw(eps)
        for step in self.steps:
            z, log_det = step.forward(z)
            log_q = log_q - log_det
        return z, log_q

    def log_prob(self, z: Tensor) -> Tensor:
        """log q(z), (..., B, D) -> (..., B), by inverting the steps."""
        log_dets = []
        for step in reversed(self.steps):
            z = step.inverse(z)
            log_dets.append(step.forward(z)[1])
        return self.base.log_prob(z) - sum(log_dets)

    def kl(self, other: Distribution) -> None:
        """None: there is no closed form."""

    def detached(self) -> "Flow":
        """The same density, whose parameters get no gradient."""
        return Flow(self.base.detached(), tuple(step.detached() for step in self.steps))

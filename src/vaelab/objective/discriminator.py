"""A network that tells two kinds of latents apart, and the two ways its output is differentiated."""

from collections.abc import Sequence

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import Adam

from vaelab.errors import ArgumentError, check_integer, check_number, is_number


class Discriminator(nn.Module):
    """log p(first kind | z) / p(second kind | z) of latents z (N, D), an MLP with leaky ReLUs, (N,).

    Args:
        latent_dim: D.
        hidden: sizes of the hidden layers.

    Raises:
        ValueError: if `hidden` is not of positive integers.
    """

    def __init__(self, latent_dim: int, hidden: Sequence[int]) -> None:
        super().__init__()
        if isinstance(hidden, str) or not isinstance(hidden, Sequence) or not hidden:
            raise ArgumentError("discriminator_hidden", f"must be a list of sizes of layers, got {hidden!r}")
        layers: list[nn.Module] = []
        for width in hidden:
            check_integer("discriminator_hidden", width, 1)
            layers += [nn.Linear(latent_dim, width), nn.LeakyReLU(0.2)]
            latent_dim = width
        self.layers = nn.Sequential(*layers, nn.Linear(latent_dim, 1))

    def forward(self, z: Tensor) -> Tensor:
        """The logits, with gradients for the network."""
        return self.layers(z).squeeze(-1)

    def fixed(self, z: Tensor) -> Tensor:
        """The same logits, with gradients for z alone."""
        return functional_call(self, {name: weight.detach() for name, weight in self.named_parameters()}, (z,))

    def told_apart(self, first: Tensor, second: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """What the network is trained by, and its terms to report.

        The cross-entropy in nats of latents (N, D) of which half are of each kind, `discriminator_loss`, and the share
        of them that is told right, `discriminator_accuracy`; no gradient goes to the latents.
        """
        logit_first, logit_second = self(first.detach()), self(second.detach())
        own = 0.5 * (F.softplus(-logit_first).mean() + F.softplus(logit_second).mean())
        right = 0.5 * ((logit_first > 0).float().mean() + (logit_second <= 0).float().mean())
        return own, {"discriminator_loss": own, "discriminator_accuracy": right}


def adam(network: Discriminator, lr: float, betas: Sequence[float]) -> Adam:
    """Adam over the discriminator's parameters; ValueError for settings that it cannot take."""
    check_number("discriminator_lr", lr, 0, above=True)
    fits = isinstance(betas, Sequence) and len(betas) == 2
    if not fits or not all(is_number(beta) and 0 <= beta < 1 for beta in betas):
        raise ArgumentError("discriminator_betas", f"must be two numbers from 0 to below 1, got {betas!r}")
    return Adam(network.parameters(), lr=lr, betas=tuple(betas), fused=True)

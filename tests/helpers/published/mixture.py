"""A mixture of normals with learnable weights, and the VampPrior (Tomczak & Welling, 2018, arXiv:1705.07120)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vaelab.distributions import Normal


@dataclass(frozen=True)
class Mixture:
    """sum_c w_c p_c(z): components (C, D), logits of the weights (C,)."""

    components: Normal
    logits: Tensor

    def draw(self, eps):
        """The first coordinate of the noise chooses the component, and what is left of it is again normal."""
        weights = self.logits.double().softmax(0)
        ends = weights.cumsum(0)
        u = torch.special.ndtr(eps[..., 0].double()).clamp(1e-12, 1 - 1e-12)  # (...)
        chosen = torch.searchsorted(ends[:-1].contiguous(), u.contiguous())  # (...)
        rest = (u - (ends - weights)[chosen]) / weights[chosen]
        first = torch.special.ndtri(rest.clamp(1e-12, 1 - 1e-12)).to(eps.dtype)
        noise = torch.cat([first.unsqueeze(-1), eps[..., 1:]], dim=-1)
        picked = Normal(self.components.mean[chosen], self.components.log_var[chosen])
        z, _ = picked.draw(noise)
        return z, self.log_prob(z)

    def log_prob(self, z):
        return torch.logsumexp(self.components.log_prob(z.unsqueeze(-2)) + self.logits.log_softmax(0), -1)

    def kl(self, other):
        return None

    def detached(self):
        return Mixture(self.components.detached(), self.logits.detach())


class MixturePrior(nn.Module):
    def __init__(self, latent_dim, components=4):
        super().__init__()
        self.mean = nn.Parameter(torch.linspace(-2, 2, components)[:, None].repeat(1, latent_dim))
        self.log_var = nn.Parameter(torch.zeros(components, latent_dim))
        self.logits = nn.Parameter(torch.linspace(0, 1, components))

    def forward(self, infer):
        return Mixture(Normal(self.mean, self.log_var), self.logits)


class VampPrior(nn.Module):
    def __init__(self, image_shape, components=3):
        super().__init__()
        grey = torch.linspace(0.1, 0.9, components)[:, None, None, None]
        self.pseudo_inputs = nn.Parameter(grey.repeat(1, *image_shape))

    def forward(self, infer):
        return Mixture(infer(self.pseudo_inputs.clamp(0, 1)), torch.zeros(len(self.pseudo_inputs)))

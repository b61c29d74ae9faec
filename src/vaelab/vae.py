"""The variational autoencoder: six parts composed; one forward pass gives a trace."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vaelab.parts import Decoder, Draw, Encoder, Likelihood, Posterior, Prior


@dataclass(frozen=True)
class Trace:
    """What one forward pass found for B images with K samples of z each; all in nats.

    log p(z), log q(z|x) and the closed-form KL are computed when they are asked for: the ELBO with a closed form
    needs neither density, an importance-weighted bound needs no closed form.
    """

    log_px: Tensor  # (K, B)
    draw: Draw
    prior: Prior

    @property
    def log_pz(self) -> Tensor:
        """log p(z) of the samples, (K, B)."""
        return self.prior.log_prob(self.draw.z)

    @property
    def log_qz(self) -> Tensor:
        """log q(z|x) of the samples, (K, B)."""
        return self.draw.log_qz

    @property
    def kl(self) -> Tensor:
        """KL(q(z|x) || p(z)) of each image, (B,): closed where it can be, else estimated from the samples."""
        if self.prior.is_standard_normal and (closed := self.draw.kl_to_standard_normal) is not None:
            return closed.sum(-1)
        return (self.log_qz - self.log_pz).mean(0)


class VAE(nn.Module):
    """p(z) p(x|z) with its approximate posterior q(z|x).

    Args:
        encoder: x (B, C, H, W) -> h (B, F).
        decoder: z (N, D) -> likelihood parameters (N, P * C, H, W).
        posterior: q(z|x) from h.
        prior: p(z).
        likelihood: p(x|z) from the decoder's output.
        latent_dim: D.
        bfloat16: run encoder and decoder in bfloat16; densities stay in float32.
    """

    def __init__(
        self,
        encoder: Encoder,
        decoder: Decoder,
        posterior: Posterior,
        prior: Prior,
        likelihood: Likelihood,
        latent_dim: int,
        bfloat16: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.posterior = posterior
        self.prior = prior
        self.likelihood = likelihood
        self.latent_dim = latent_dim
        self.bfloat16 = bfloat16

    def forward(self, x: Tensor, eps: Tensor) -> Trace:
        """Encode x (B, C, H, W) in [0, 1], draw z with the standard normal noise eps (K, B, D), score x."""
        draw = self.encode(x, eps)
        params = self.decode(draw.z.flatten(0, 1))  # (K, B, D) -> (K * B, P * C, H, W)
        return Trace(self.likelihood.log_prob(params.unflatten(0, eps.shape[:2]), x), draw, self.prior)

    def encode(self, x: Tensor, eps: Tensor) -> Draw:
        """Draw from q(z|x), x (B, C, H, W) and eps (K, B, D)."""
        with self._network_precision(x.device):
            h = self.encoder(x)
        return self.posterior(h.float(), eps)

    def decode(self, z: Tensor) -> Tensor:
        """Likelihood parameters of z, (N, D) -> (N, P * C, H, W)."""
        with self._network_precision(z.device):
            params = self.decoder(z)
        return params.float()

    def _network_precision(self, device: torch.device) -> AbstractContextManager:
        return torch.autocast(device.type, torch.bfloat16) if self.bfloat16 else nullcontext()

"""The variational autoencoder: six parts composed; one forward pass gives a trace."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from vaelab.distributions import Distribution
from vaelab.ops import normal
from vaelab.parts import Decoder, Encoder, Latent, Likelihood, Posterior, Prior, Trace


class VAE(nn.Module):
    """p(z) p(x|z) with its approximate posterior q(z|x) and one group of latents.

    Kingma & Welling, 2014 (arXiv:1312.6114). With an encoder that says `takes_labels = True` the model is conditional:
    labels y (B,) go to encoder, prior and decoder as their last argument.

    Args:
        encoder: x (B, C, H, W) -> h (B, F).
        decoder: z (N, D) -> likelihood parameters (N, M, H, W).
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
        self.takes_labels = getattr(encoder, "takes_labels", False)

    def forward(self, x: Tensor, noise: Tensor, y: Tensor | None = None) -> Trace:
        """Encode x (B, C, H, W) in [0, 1], draw z with the standard normal noise (K, B, D), score x."""
        return self.encode(x, y)(noise)

    def encode(self, x: Tensor, y: Tensor | None = None) -> Callable[[Tensor], Trace]:
        """What is left of a pass once x is encoded: from noise to the trace, so that more samples cost no encoding."""
        q, p = self.infer(x, y), self.prior_of(y)

        def trace(noise: Tensor) -> Trace:
            samples, images, _ = noise.shape
            z, log_q = q.draw(noise)  # (K, B, D), (K, B)
            params = self.decode(z.flatten(0, 1), None if y is None else y.repeat(samples))  # (K * B, M, H, W)
            log_px = self.likelihood.log_prob(params.unflatten(0, (samples, images)), x)  # (K, B)
            return Trace(log_px, (Latent(z, log_q, q, p),), getattr(q, "losses", {}))

        return trace

    def infer(self, x: Tensor, y: Tensor | None = None) -> Distribution:
        """q(z|x) of images x (B, C, H, W)."""
        with self._network_precision(x.device):
            h = self.encoder(x, *_given(y))
        return self.posterior(h.float())

    def prior_of(self, y: Tensor | None = None) -> Distribution:
        """p(z), given labels y (B,) where the model takes them; of a posterior of codes the one that it brings."""
        if hasattr(self.posterior, "prior"):
            return self.posterior.prior()
        return self.prior(self.infer, *_given(y))

    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Likelihood parameters of z, (N, D) -> (N, M, H, W)."""
        with self._network_precision(z.device):
            params = self.decoder(z, *_given(y))
        return params.float()

    def noise(self, samples: int, images: int, generator: torch.Generator) -> Tensor:
        """Standard normal noise (K, B, D) on the model's device, drawn where the generator is."""
        return normal((samples, images, self.latent_dim), generator, self._device)

    def sample(
        self, count: int, generator: torch.Generator, y: Tensor | None = None, pixel_noise: bool = False
    ) -> Tensor:
        """Images (N, C, H, W) in [0, 1] for z ~ p(z): the mean of p(x|z) or, with `pixel_noise`, a draw from it."""
        z, _ = self.prior_of(y).draw(normal((count, self.latent_dim), generator, self._device))
        params = self.decode(z, y)
        return self.likelihood.sample(params, generator).clamp(0, 1) if pixel_noise else self.likelihood.mean(params)

    def embed(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """z (B, D) of images x (B, C, H, W) at zero noise: the mean of a normal posterior."""
        z, _ = self.infer(x, y).draw(x.new_zeros(1, x.shape[0], self.latent_dim))
        return z[0]

    def reconstruct(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """The mean of p(x|z) at the embedding of x, (B, C, H, W) in [0, 1]."""
        return self.likelihood.mean(self.decode(self.embed(x, y), y))

    @property
    def _device(self) -> torch.device:
        return next(self.parameters()).device

    def _network_precision(self, device: torch.device) -> AbstractContextManager:
        return torch.autocast(device.type, torch.bfloat16) if self.bfloat16 else nullcontext()


def _given(y: Tensor | None) -> tuple[Tensor, ...]:
    return () if y is None else (y,)

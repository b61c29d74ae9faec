"""A ladder of two groups of latents, a conditional VAE, and an output of 100 channels."""

from types import MappingProxyType

import torch
from torch import Tensor, nn

from vaelab.distributions import Normal, StandardNormal
from vaelab.model import mlp
from vaelab.ops import normal
from vaelab.parts import MASS, Latent, Trace


class Ladder(nn.Module):
    """p(z1) p(z2|z1) p(x|z1, z2), z1 above z2, q(z1|x) q(z2|z1, x) (Sonderby et al., 2016, arXiv:1602.02282)."""

    takes_labels = False

    def __init__(self, image_shape, latent_dim, out_channels, likelihood, hidden=16):
        super().__init__()
        self.latent_dim, self.likelihood = latent_dim, likelihood
        self.dims = (latent_dim - 1, 1)
        encoder, decoder = mlp.networks(image_shape, latent_dim, out_channels, [hidden], "relu")
        self.bottom_up, self.decoder = encoder, decoder
        top, bottom = self.dims
        self.q_top = nn.Linear(hidden, 2 * top)
        self.q_bottom = nn.Linear(hidden + top, 2 * bottom)
        self.p_bottom = nn.Linear(top, 2 * bottom)

    def noise(self, samples, images, generator):
        device = self.q_top.weight.device
        return tuple(normal((samples, images, size), generator, device) for size in self.dims)

    def forward(self, x, noise, y=None):
        return self.encode(x)(noise)

    def encode(self, x, y=None):
        def trace(noise):
            latents, params = self.descend(x, noise)
            return Trace(self.likelihood.log_prob(params, x), latents)

        return trace

    def descend(self, x, noise):
        h = self.bottom_up(x)  # (B, F)
        q1 = Normal(*self.q_top(h).chunk(2, -1))
        z1, log_q1 = q1.draw(noise[0])  # (K, B, D1)
        q2 = Normal(*self.q_bottom(torch.cat([h.expand(len(z1), *h.shape), z1], -1)).chunk(2, -1))
        z2, log_q2 = q2.draw(noise[1])
        p2 = Normal(*self.p_bottom(z1).chunk(2, -1))
        return (Latent(z1, log_q1, q1, StandardNormal()), Latent(z2, log_q2, q2, p2)), self.decode(z1, z2)

    def decode(self, *groups):
        z = torch.cat(groups, -1)
        return self.decoder(z.flatten(0, 1)).unflatten(0, z.shape[:2])

    def sample(self, count, generator, y=None, pixel_noise=False):
        first, second = self.noise(1, count, generator)
        z2, _ = Normal(*self.p_bottom(first).chunk(2, -1)).draw(second)
        params = self.decode(first, z2)[0]
        return self.likelihood.sample(params, generator) if pixel_noise else self.likelihood.mean(params)

    def embed(self, x, y=None):
        latents, _ = self.descend(x, tuple(x.new_zeros(1, len(x), size) for size in self.dims))
        return torch.cat([latent.z[0] for latent in latents], -1)

    def reconstruct(self, x, y=None):
        _, params = self.descend(x, tuple(x.new_zeros(1, len(x), size) for size in self.dims))
        return self.likelihood.mean(params[0])


class LabelledEncoder(nn.Module):
    takes_labels = True

    def __init__(self, encoder, num_classes):
        super().__init__()
        self.encoder, self.labels = encoder, nn.Embedding(num_classes, encoder.out_features)
        self.out_features = encoder.out_features

    def forward(self, x, y):
        return self.encoder(x) + self.labels(y)


class LabelledDecoder(nn.Module):
    def __init__(self, decoder, latent_dim, num_classes):
        super().__init__()
        self.decoder, self.labels = decoder, nn.Embedding(num_classes, latent_dim)

    def forward(self, z, y):
        return self.decoder(z + self.labels(y))


class LabelledPrior(nn.Module):
    """N(mean of the label, I)."""

    def __init__(self, latent_dim, num_classes):
        super().__init__()
        self.mean = nn.Embedding(num_classes, latent_dim)

    def forward(self, infer, y):
        mean = self.mean(y)
        return Normal(mean, torch.zeros_like(mean))


def labelled_networks(image_shape, latent_dim, out_channels, num_classes):
    """The conditional VAE (Sohn et al., 2015)."""
    encoder, decoder = mlp.networks(image_shape, latent_dim, out_channels, [16], "relu")
    return LabelledEncoder(encoder, num_classes), LabelledDecoder(decoder, latent_dim, num_classes)


class HundredChannels(nn.Module):
    """Ten logistics with three means, three scales, three couplings and a weight for RGB, as PixelCNN++ has them."""

    pixels = MappingProxyType({"levels": MASS})

    def out_channels(self, channels):
        assert channels == 3
        return 100

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        means, log_scales, weights = self.split(params)  # (..., 10, 3, H, W) twice, (..., 10, H, W)
        scaled = (2 * x.unsqueeze(1) - 1 - means) * torch.exp(-log_scales.clamp(-7, 7))
        log_density = nn.functional.logsigmoid(scaled) + nn.functional.logsigmoid(-scaled) - log_scales.clamp(-7, 7)
        return torch.logsumexp(log_density.sum(-3) + weights.log_softmax(-3), -3).flatten(2).sum(-1)

    def mean(self, params):
        means, _, weights = self.split(params)
        return (0.5 * (means * weights.softmax(-3).unsqueeze(-3)).sum(-4) + 0.5).clamp(0, 1)

    def sample(self, params, noise):
        return self.mean(params)

    def split(self, params):
        rest, weights = params[..., :90, :, :], params[..., 90:, :, :]
        means, log_scales, _ = rest.unflatten(-3, (10, 9)).split(3, dim=-3)
        return means, log_scales, weights

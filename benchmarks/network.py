"""The one network that all rows train, in the pieces that they put together each in its own way."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from unittest import mock

import torch
import yaml
from torch import Tensor, nn

from benchmarks.job import LATENT_DIM, ROOT
from vaelab.model import conv, mlp

IMAGE_SHAPES = {"mlp": (1, 28, 28), "conv": (3, 32, 32)}


def encoder_and_decoder(model: str) -> tuple[nn.Module, nn.Module]:
    """x (B, C, H, W) -> h (B, F) and z (B, D) -> logits (B, C, H, W), with the layers of vaelab's own config."""
    layers = yaml.safe_load((ROOT / "conf" / "model" / f"{model}.yaml").read_text())
    build = {"mlp": mlp.networks, "conv": conv.networks}[layers.pop("_target_").split(".")[-2]]
    return build(IMAGE_SHAPES[model], LATENT_DIM, out_channels=IMAGE_SHAPES[model][0], **layers)


class TwoHeads(nn.Module):
    """The network with one linear layer for the mean and one for the log variance, as most code has it."""

    def __init__(self, model: str) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder_and_decoder(model)
        self.mean = nn.Linear(self.encoder.out_features, LATENT_DIM)
        self.log_var = nn.Linear(self.encoder.out_features, LATENT_DIM)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.encoder(x)
        return self.mean(h), self.log_var(h)

    def load(self, weights: "Weights") -> None:
        copy(weights.encoder, self.encoder.parameters())
        copy(weights.two_heads, [*self.mean.parameters(), *self.log_var.parameters()])
        copy(weights.decoder, self.decoder.parameters())


@dataclass(frozen=True)
class Weights:
    """Values of all parameters in the order of the layers; `heads` are weight (2D, F) and bias (2D,)."""

    encoder: list[Tensor]
    heads: list[Tensor]
    decoder: list[Tensor]

    @property
    def two_heads(self) -> list[Tensor]:
        """Weight and bias of the mean, weight and bias of the log variance."""
        weight, bias = (head.chunk(2) for head in self.heads)
        return [weight[0], bias[0], weight[1], bias[1]]


def fixed_weights(model: str) -> Weights:
    """The same weights in every process."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder, decoder = encoder_and_decoder(model)
        heads = nn.Linear(encoder.out_features, 2 * LATENT_DIM)
    return Weights(*([p.detach() for p in part.parameters()] for part in (encoder, heads, decoder)))


@torch.no_grad()
def copy(values: Iterable[Tensor], parameters: Iterable[Tensor]) -> None:
    """Write values into parameters of the same shapes."""
    for value, parameter in zip(values, parameters, strict=True):
        if value.shape != parameter.shape:
            raise ValueError(f"a row's network must have the common one's shapes, got {tuple(parameter.shape)}")
        parameter.copy_(value)


@contextmanager
def noise_is(eps: Tensor) -> Iterator[None]:
    """While entered, torch.randn_like gives `eps`, for code that draws its own noise."""
    with mock.patch("torch.randn_like", lambda like: eps.to(like)):
        yield

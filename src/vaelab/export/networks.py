"""A model's two directions as modules of tensors alone, which other programs can run."""

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vaelab.distributions import Normal
from vaelab.model.ladder import Ladder
from vaelab.parts import Facts, Model
from vaelab.vae import VAE

PARTS = ("encoder", "decoder")


class Direction(NamedTuple):
    """A module with what it takes and gives.

    Attributes:
        module: from tensors to a tuple of tensors, in float32.
        example: two examples of what it takes, random.
        inputs: the names of what it takes.
        outputs: the names of what it gives.
        batched: the names of what it takes any number of; None for all.
    """

    module: nn.Module
    example: tuple[Tensor, ...]
    inputs: Sequence[str]
    outputs: Sequence[str]
    batched: Sequence[str] | None = None

    @property
    def dynamic_shapes(self) -> tuple[dict[int, torch.export.Dim], ...]:
        """Of each input the axis that may have any length, as torch.export takes them."""
        batch = torch.export.Dim("batch")
        batched = self.inputs if self.batched is None else self.batched
        return tuple({0: batch} if name in batched else {} for name in self.inputs)


class EncoderModule(nn.Module):
    """x (B, C, H, W) in [0, 1], and labels y (B,) of a conditional model -> mean and std of q(z|x), (B, D) each.

    Of a posterior that is no diagonal normal it is z at zero noise alone.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, ...]:
        """What the outputs' names say."""
        if isinstance(self.model, VAE) and isinstance(q := self.model.infer(x, y), Normal):
            return q.mean, (0.5 * q.log_var).exp()
        return (self.model.embed(x, y),)


class DecoderModule(nn.Module):
    """z (N, D), and labels y (N,) of a conditional model -> the mean of p(x|z), (N, C, H, W) in [0, 1]."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, z: Tensor, y: Tensor | None = None) -> tuple[Tensor]:
        """The images."""
        if isinstance(self.model, Ladder):
            params = self.model.decode(z.unsqueeze(0).split(self.model.dims, -1), y)[0]
        else:
            params = self.model.decode(z, y)
        return (self.model.likelihood.mean(params),)


def direction(model: Model, facts: Facts, part: str) -> Direction:
    """The `encoder` or the `decoder` of a model, in float32 whatever it was trained in, on the CPU."""
    model = copy.deepcopy(model).cpu().requires_grad_(False)
    model.bfloat16 = False
    noise = torch.Generator().manual_seed(0)
    labels = (torch.randint(facts.num_classes or 1, (2,), generator=noise),) if model.takes_labels else ()
    names = ("y",) if labels else ()
    if part == "encoder":
        x = torch.rand(2, *facts.image_shape, generator=noise)
        module = EncoderModule(model).eval()
        outputs = ("mean", "std") if len(module(x, *labels)) == 2 else ("z",)
        return Direction(module, (x, *labels), ("x", *names), outputs)
    z = torch.randn(2, model.latent_dim, generator=noise)
    return Direction(DecoderModule(model).eval(), (z, *labels), ("z", *names), ("image",))

"""Small pure functions of tensors, and random generators that are functions of where they are used."""

import hashlib
import math
from collections.abc import Sequence

import torch
from torch import Tensor


def log_mean_exp(x: Tensor, dim: int) -> Tensor:
    """log of the mean of exp(x) along `dim`, without overflow."""
    return torch.logsumexp(x, dim) - math.log(x.shape[dim])


def bits_per_dim(nats: float, dims: int) -> float:
    """Nats per image as bits per dimension of an image with `dims` = C * H * W values."""
    return nats / (dims * math.log(2))


def generator(seed: int, stream: str, index: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator whose draws depend on (seed, stream, index) alone, so that nothing needs to be resumed.

    Args:
        seed: the run's seed.
        stream: what the numbers are for; two streams are independent.
        index: the step, the epoch or the batch they are for.
        device: where the numbers are drawn.
    """
    digest = hashlib.blake2b(f"{seed}/{stream}/{index}".encode(), digest_size=8).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest, "little") >> 1)


def unit_interval(images: Tensor) -> Tensor:
    """uint8 images as float32 in [0, 1]."""
    return images.float().div_(255)


def uniform_like(x: Tensor, noise: torch.Generator) -> Tensor:
    """Numbers in [0, 1) in the shape and on the device of x; drawn where the generator is, as `normal`'s are."""
    return torch.rand(x.shape, generator=noise, device=noise.device).to(x.device)


def normal(shape: Sequence[int], noise: torch.Generator, device: torch.device) -> Tensor:
    """Standard normal numbers on `device`; drawn where the generator is: one on the CPU gives all devices the same."""
    return torch.randn(shape, generator=noise, device=noise.device).to(device)


def binarize(x: Tensor, uniform: Tensor) -> Tensor:
    """Make each pixel of x in [0, 1] a 1 with probability x, by `uniform` in [0, 1) (Salakhutdinov & Murray, 2008)."""
    return uniform.lt(x).to(x.dtype)

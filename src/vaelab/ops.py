"""Small pure functions of tensors, and random generators that are functions of where they are used."""

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def log_mean_exp(x: Tensor, dim: int) -> Tensor:
    """log of the mean of exp(x) along `dim`, without overflow."""
    return torch.logsumexp(x, dim) - math.log(x.shape[dim])


def bits_per_dim(nats: float, dims: int) -> float:
    """Nats per image as bits per dimension of an image with `dims` = C * H * W values."""
    return nats / (dims * math.log(2))


# The state of a CPU generator as torch writes it: the seed, three counters, Mersenne's words at 64 bits each, and what
# is left of the last normal number. The counters of a fresh one have all words twisted before the first is used.
FRESH_STATE = torch.Generator().manual_seed(0).get_state().numpy()
MERSENNE_WORDS = 624
SEED_BYTES, WORDS_BYTES = slice(8), slice(24, 24 + 8 * MERSENNE_WORDS)


def generator(seed: int, stream: str, index: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator whose draws depend on (seed, stream, index) alone, so that nothing needs to be resumed.

    On the CPU all 19,937 bits of its state come from a hash of the three: `manual_seed` uses no more than 32 bits of a
    seed there, and a run of 100,000 steps would make some of them with the noise of others. Elsewhere 64 bits do.

    Args:
        seed: the run's seed.
        stream: what the numbers are for; two streams are independent.
        index: the step, the epoch or the batch they are for.
        device: where the numbers are drawn.
    """
    key = hashlib.shake_128(f"{seed}/{stream}/{index}".encode())
    fresh = torch.Generator(device)
    if fresh.device.type != "cpu":
        return fresh.manual_seed(int.from_bytes(key.digest(8), "little"))
    hashed = np.frombuffer(key.digest(8 + 4 * MERSENNE_WORDS), np.uint32)
    return fresh.set_state(_mersenne_state(hashed[:2], hashed[2:]))


def _mersenne_state(seed: np.ndarray, words: np.ndarray) -> Tensor:
    """What `set_state` of a CPU generator takes to draw from these words; the seed, of 64 bits, is only its name."""
    state = FRESH_STATE.copy()
    state[SEED_BYTES] = seed.view(np.uint8)
    state[WORDS_BYTES].view(np.uint64)[:] = words
    return torch.from_numpy(state)


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

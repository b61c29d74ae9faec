"""Batches of a tensor that stays on the device; the order is a function of (seed, epoch)."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from vaelab.ops import binarize, generator, uniform_like, unit_interval


@dataclass(frozen=True)
class Loader:
    """Training batches.

    Args:
        images: (N, C, H, W) uint8 on the device of the model.
        batch_size: B; the last batch of an epoch may be smaller.
        seed: of the run.
        dynamic: draw every pixel anew as 0 or 1, with its grey value as the probability.
    """

    images: Tensor
    batch_size: int
    seed: int
    dynamic: bool

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch, the smaller last one counted."""
        return -(-len(self.images) // self.batch_size)

    def epoch(self, epoch: int, start: int) -> Iterator[Tensor]:
        """The batches of an epoch, uint8, from image number `start` of its order on."""
        order = torch.randperm(len(self.images), generator=generator(self.seed, "order", epoch))
        order = order.to(self.images.device)
        for first in range(start, len(order), self.batch_size):
            yield self.images.index_select(0, order[first : first + self.batch_size])  # advanced indexing: 4x slower

    def noise(self, step: int) -> torch.Generator:
        """The generator of all that is random in a training step."""
        return generator(self.seed, "train", step, self.images.device)

    def uniform(self, batch: Tensor, noise: torch.Generator) -> Tensor | None:
        """Numbers in [0, 1) in the shape of the batch where it is to be binarised, else None."""
        return uniform_like(batch, noise) if self.dynamic else None

    def pixels(self, batch: Tensor, uniform: Tensor | None) -> Tensor:
        """A uint8 batch as the model sees it: float in [0, 1], binarised with `uniform` where that was asked for."""
        x = unit_interval(batch)
        return x if uniform is None else binarize(x, uniform)

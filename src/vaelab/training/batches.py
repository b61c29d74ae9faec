"""Batches of a tensor in memory, the device's or the host's; the order is a function of (seed, epoch)."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from vaelab.machine.device import holds, in_memory
from vaelab.ops import binarize, generator, uniform_like, unit_interval

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loader:
    """Training batches.

    Args:
        images: (N, C, H, W) uint8, on the device or in host memory.
        device: where the batches go.
        batch_size: B; the last batch of an epoch may be smaller.
        seed: of the run.
        dynamic: draw every pixel anew as 0 or 1, with its grey value as the probability.
    """

    images: Tensor
    device: torch.device
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
            yield self._gather(order[first : first + self.batch_size])

    def noise(self, step: int) -> torch.Generator:
        """The generator of all that is random in a training step."""
        return generator(self.seed, "train", step, self.device)

    def uniform(self, batch: Tensor, noise: torch.Generator) -> Tensor | None:
        """Numbers in [0, 1) in the shape of the batch where it is to be binarised, else None."""
        return uniform_like(batch, noise) if self.dynamic else None

    def pixels(self, batch: Tensor, uniform: Tensor | None) -> Tensor:
        """A uint8 batch as the model sees it: float in [0, 1], binarised with `uniform` where that was asked for."""
        x = unit_interval(batch)
        return x if uniform is None else binarize(x, uniform)

    def _gather(self, rows: Tensor) -> Tensor:
        if self.images.device == self.device:
            return self.images.index_select(0, rows)  # advanced indexing: 4x slower
        # a copy from pinned memory does not wait for the device; torch gives the memory out again once it was copied
        batch = self.images.new_empty(len(rows), *self.images.shape[1:], pin_memory=self.device.type == "cuda")
        torch.index_select(self.images, 0, rows, out=batch)
        return batch.to(self.device, non_blocking=True)


def place(images: Tensor, images_on: str, device: torch.device) -> Tensor:
    """The images where batches are to be gathered from them.

    Args:
        images: (N, C, H, W) uint8 in host memory.
        images_on: `device`, `host`, or `auto`: on the device where they take at most half of its free memory.
        device: that of the model.

    Raises:
        UserError: if they do not fit on the device.
    """
    if images_on == "auto" and not holds(device, images.nbytes):
        log.info("the training images stay in host memory, for they take more than half of what is free on %s", device)
    elif images_on != "host":
        with in_memory(f"the {len(images):,} training images", "use trainer.images_on=host"):
            return images.to(device)
    return images

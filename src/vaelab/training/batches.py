"""Batches of tensors in memory, the device's or the host's; their order is a function of (seed, epoch)."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from vaelab.machine.device import holds, in_memory
from vaelab.ops import generator

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Batches:
    """Batches of training images, with their labels where there are any.

    Args:
        images: (N, C, H, W) uint8, on the device or in host memory.
        labels: (N,) integers beside them, or None.
        device: where the batches go.
        batch_size: B; the last batch of an epoch may be smaller.
        seed: of the run.
    """

    images: Tensor
    labels: Tensor | None
    device: torch.device
    batch_size: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch, the smaller last one counted."""
        return -(-len(self.images) // self.batch_size)

    def epoch(self, epoch: int, start: int) -> Iterator[tuple[Tensor, Tensor | None]]:
        """The batches of an epoch, uint8 (B, C, H, W) and labels (B,), from image number `start` of its order on."""
        order = torch.randperm(len(self.images), generator=generator(self.seed, "order", epoch))
        order = order.to(self.images.device)
        for first in range(start, len(order), self.batch_size):
            rows = order[first : first + self.batch_size]
            yield self._gather(self.images, rows), None if self.labels is None else self._gather(self.labels, rows)

    def noise(self, step: int) -> torch.Generator:
        """The generator of all that is random in a training step."""
        return generator(self.seed, "train", step, self.device)

    def _gather(self, source: Tensor, rows: Tensor) -> Tensor:
        if source.device == self.device:
            return source.index_select(0, rows)  # advanced indexing: 4x slower
        # a copy from pinned memory does not wait for the device; torch gives the memory out again once it was copied
        batch = source.new_empty(len(rows), *source.shape[1:], pin_memory=self.device.type == "cuda")
        torch.index_select(source, 0, rows, out=batch)
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

"""Batches of tensors, in memory or mapped from a file; their order is a function of (seed, epoch)."""

import logging
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vaelab.machine.device import free_memory, in_memory
from vaelab.ops import generator

log = logging.getLogger(__name__)

Batch = tuple[Tensor, Tensor | None]
AHEAD = 4  # batches that are gathered from disk before they are asked for
RELEASED_BYTES = 2**25  # gathered between two releases of that memory; what lies around an image comes with it


@dataclass(frozen=True)
class Batches:
    """Batches of training images, with their labels where there are any.

    Args:
        images: (N, C, H, W) uint8, on the device or in host memory.
        labels: (N,) integers beside them, or None.
        device: where the batches go.
        batch_size: B; the last batch of an epoch may be smaller.
        seed: of the run.
        release: of images that lie on disk, gives the memory back that they took; their batches are gathered in a
            thread, ahead of the step. None for images in memory.
    """

    images: Tensor
    labels: Tensor | None
    device: torch.device
    batch_size: int
    seed: int
    release: Callable[[], None] | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch, the smaller last one counted."""
        return -(-len(self.images) // self.batch_size)

    def epoch(self, epoch: int, start: int) -> Iterator[Batch]:
        """The batches of an epoch, uint8 (B, C, H, W) and labels (B,), from image number `start` of its order on."""
        order = torch.randperm(len(self.images), generator=generator(self.seed, "order", epoch))
        order = order.to(self.images.device)
        batches = (order[first : first + self.batch_size] for first in range(start, len(order), self.batch_size))
        return map(self._batch, batches) if self.release is None else self._ahead(batches, self.release)

    def noise(self, step: int) -> torch.Generator:
        """The generator of all that is random in a training step."""
        return generator(self.seed, "train", step, self.device)

    def _batch(self, rows: Tensor) -> Batch:
        return self._gather(self.images, rows), None if self.labels is None else self._gather(self.labels, rows)

    def _ahead(self, batches: Iterator[Tensor], release: Callable[[], None]) -> Iterator[Batch]:
        """The same batches, gathered a few ahead in a thread, which takes no more memory for it as it goes on."""
        every = max(1, RELEASED_BYTES // (self.batch_size * self.images[0].nbytes))
        waiting: deque[Future[Batch]] = deque()
        with ThreadPoolExecutor(1) as thread:
            for number, rows in enumerate(batches):
                if number % every == 0:  # before the first, what others have read
                    thread.submit(release)
                waiting.append(thread.submit(self._batch, rows))
                if len(waiting) > AHEAD:
                    yield waiting.popleft().result()
            yield from (each.result() for each in waiting)

    def _gather(self, source: Tensor, rows: Tensor) -> Tensor:
        if source.device == self.device and self.release is None:
            return source.index_select(0, rows)  # advanced indexing: 4x slower
        # a copy from pinned memory does not wait for the device; torch gives the memory out again once it was copied
        batch = source.new_empty(len(rows), *source.shape[1:], pin_memory=self.device.type == "cuda")
        if self.release is None:
            torch.index_select(source, 0, rows, out=batch)
        else:  # beside the step torch's own would have threads that the step's wait for, a tenth of a conv step
            np.take(source.numpy(), rows.numpy(), axis=0, out=batch.numpy(), mode="clip")
        return batch.to(self.device, non_blocking=True)


def place(images: Tensor, images_on: str, device: torch.device, stored: bool = False) -> tuple[Tensor, bool]:
    """The images where batches are to be gathered from them, and whether that is on disk.

    Args:
        images: (N, C, H, W) uint8 in host memory, or mapped into it.
        images_on: `device`; `host`; `disk`, where those that are mapped stay where they are; or `auto`, the first of
            the three of which they take at most half of the free memory.
        device: that of the model.
        stored: whether they are mapped.

    Raises:
        UserError: if they do not fit on the device.
    """
    if images_on == "auto":
        images_on = _with_room(images.nbytes, device, stored)
    if images_on == "disk":
        return images, stored
    if images_on == "host" or device.type == "cpu":
        return images.clone() if stored else images, False
    with in_memory(f"the {len(images):,} training images", "use trainer.images_on=host"):
        return images.to(device), False


def _with_room(size: int, device: torch.device, stored: bool) -> str:
    """`device`, `host` or `disk`; images that are in host memory already have room in what shares it."""

    def has_room(on: torch.device) -> bool:
        return size <= free_memory(on) / 2

    if (device.type != "cuda" and not stored) or has_room(device):
        return "device"
    place = "host" if device.type == "cuda" and (not stored or has_room(torch.device("cpu"))) else "disk"
    where = {"host": "in host memory", "disk": "on disk"}[place]
    log.info("the training images stay %s, for they take more than half of what is free on %s", where, device)
    return place

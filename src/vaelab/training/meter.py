"""Sums of what training steps return, read once per interval."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vaelab.training.restored import count, entries, metrics
from vaelab.training.step import require_finite

MOST_UNREAD = 1000  # steps whose values a meter keeps


class Meter:
    """Sums of a step's values over images; the values stay on the device until they are read.

    Whatever reads them raises UserError, with the number of the first such step, if the loss of one is not finite.
    """

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._images = 0
        self._unread: list[tuple[Mapping[str, Tensor], int, int]] = []

    def add(self, values: Mapping[str, Tensor], images: int, step: int) -> None:
        """Add the means over a batch of that many images, of the step after `step` others."""
        self._unread.append(({name: value.detach() for name, value in values.items()}, images, step))
        if len(self._unread) == MOST_UNREAD:
            self._sum_up()

    def read(self) -> tuple[dict[str, float], int]:
        """The sums and the number of images since the last call; waits for the device."""
        self._sum_up()
        read = self._sums, self._images
        self._sums, self._images = {}, 0
        return read

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        self._sum_up()
        return {"sums": dict(self._sums), "images": self._images}

    @property
    def images(self) -> int:
        """Images whose values have not been read."""
        return self._images + sum(images for _, images, _ in self._unread)

    def restore(self, saved: object) -> None:
        """Go on from what `state` gave; ValueError, and nothing changed, where it can be none."""
        found = entries("meter", saved, ("sums", "images"))
        images = count("meter.images", found["images"])
        self._sums, self._images, self._unread = metrics("meter.sums", found["sums"]), images, []

    def _sum_up(self) -> None:
        """Add in double precision and one by one, so that a save in between does not change the sum."""
        if not self._unread:
            return
        table = torch.stack([value for values, *_ in self._unread for value in values.values()])
        for (values, images, step), row in zip(self._unread, table.view(len(self._unread), -1).tolist(), strict=True):
            self.add_read(dict(zip(values, row, strict=True)), images, step)
        self._unread = []

    def add_read(self, means: Mapping[str, float], images: int, step: int) -> None:
        """As `add`, of means that have been read; none may be waiting to be."""
        require_finite(means, step)
        for name, value in means.items():
            self._sums[name] = self._sums.get(name, 0.0) + value * images
        self._images += images

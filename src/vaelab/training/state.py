"""What changes while a run trains, besides weights and moments."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from vaelab.training.loss import require_finite
from vaelab.training.restored import at_least_zero, count, entries, metrics, sums

MOST_UNREAD = 1000  # steps whose values a meter keeps
MOST_THREADS = 65_536


def _threads(name: str, saved: Any) -> int | None:
    if saved is not None and not 1 <= count(name, saved) <= MOST_THREADS:
        raise ValueError(f"{name} must be from 1 to {MOST_THREADS:,}, got {saved:,}")
    return saved


# What makes a value of a field of one that was saved, or raises ValueError.
COUNT, AMOUNT, METRICS, THREADS = ({"checked": check} for check in (count, at_least_zero, metrics, _threads))


@dataclass
class Progress:
    """Where a run stands: plain values, the part of its state that is not in a tensor."""

    step: int = field(default=0, metadata=COUNT)
    epoch: int = field(default=0, metadata=COUNT)  # whole epochs done
    position: int = field(default=0, metadata=COUNT)  # images of this epoch's order that were used
    reported_step: int = field(default=0, metadata=COUNT)  # the last at which an epoch, or the run, was reported
    threads: int | None = field(default=None, metadata=THREADS)  # on the CPU; another number would sum in another order
    images: int = field(default=0, metadata=COUNT)
    seconds: float = field(default=0.0, metadata=AMOUNT)  # in training steps, without evaluation and pictures
    interval_seconds: float = field(default=0.0, metadata=AMOUNT)  # of these, since the last report
    epoch_sums: dict[str, float] = field(default_factory=dict, metadata=METRICS)
    epoch_images: int = field(default=0, metadata=COUNT)
    epoch_seconds: float = field(default=0.0, metadata=AMOUNT)
    train: dict[str, float] = field(default_factory=dict, metadata=METRICS)  # means over the last epoch
    best: dict[str, float] = field(default_factory=dict, metadata=METRICS)  # validation metrics of the best epoch
    best_epoch: int = field(default=0, metadata=COUNT)

    @classmethod
    def restored(cls, saved: object) -> "Progress":
        """What a checkpoint kept of it; ValueError where it can be none."""
        kept = fields(cls)
        found = entries("progress", saved, [part.name for part in kept])
        progress = cls(**{part.name: part.metadata["checked"](part.name, found[part.name]) for part in kept})
        sums("epoch_sums", progress.epoch_sums, progress.epoch_images)
        sums("train", progress.train, progress.reported_step)
        if progress.reported_step > progress.step:
            raise ValueError(f"reported_step must be at most step {progress.step}, got {progress.reported_step}")
        return progress

    def require_images(self, most: int, unreported: int) -> None:
        """Raise ValueError unless it is a place in an epoch of `most` images, `unreported` of which are in a meter."""
        if self.position > most:
            raise ValueError(f"position must be at most the {most:,} training images, got {self.position:,}")
        if self.position != self.epoch_images + unreported:
            counted = f"{self.epoch_images:,} and {unreported:,}"
            raise ValueError(f"position must be the images that were counted, {counted}, got {self.position:,}")
        if self.position == 0 and self.step != self.reported_step:
            raise ValueError(f"step must be that of the last report, {self.reported_step}, got {self.step}")


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
            means = dict(zip(values, row, strict=True))
            require_finite(means, step)
            for name, value in means.items():
                self._sums[name] = self._sums.get(name, 0.0) + value * images
            self._images += images
        self._unread = []

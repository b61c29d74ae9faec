"""Where a run stands: the plain values of its state."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from vaelab.training.restored import at_least_zero, count, entries, metrics, sums

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

    def count_step(self, images: int) -> None:
        """Count a step on so many images."""
        self.step += 1
        self.position += images

    def count_seconds(self, seconds: float) -> None:
        """Add time spent in training steps."""
        self.seconds += seconds
        self.epoch_seconds += seconds
        self.interval_seconds += seconds

    def count_images(self, sums: Mapping[str, float], images: int) -> None:
        """Add the sums of a meter over so many images."""
        for name, total in sums.items():
            self.epoch_sums[name] = self.epoch_sums.get(name, 0.0) + total
        self.epoch_images += images
        self.images += images

    def end_epoch(self, images: int) -> None:
        """Count the epoch as reported, and as done if all `images` of its order were used."""
        self.reported_step = self.step
        if self.position >= images:
            self.epoch, self.position = self.epoch + 1, 0
            self.epoch_sums, self.epoch_images, self.epoch_seconds = {}, 0, 0.0

    def require_images(self, most: int, unreported: int) -> None:
        """Raise ValueError unless it is a place in an epoch of `most` images, `unreported` of which are in a meter."""
        if self.position > most:
            raise ValueError(f"position must be at most the {most:,} training images, got {self.position:,}")
        if self.position != self.epoch_images + unreported:
            counted = f"{self.epoch_images:,} and {unreported:,}"
            raise ValueError(f"position must be the images that were counted, {counted}, got {self.position:,}")
        if self.position == 0 and self.step != self.reported_step:
            raise ValueError(f"step must be that of the last report, {self.reported_step}, got {self.step}")

"""What changes while a run trains, besides weights and moments."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from vaelab.loss import require_finite

MOST_UNREAD = 1000  # steps whose values a meter keeps


@dataclass
class Progress:
    """Where a run stands: plain values, the part of its state that is not in a tensor."""

    step: int = 0
    epoch: int = 0  # whole epochs done
    position: int = 0  # images of this epoch's order that were used
    reported_step: int = 0  # the last step at which an epoch, or the run, was evaluated and reported
    threads: int | None = None  # that train on the CPU; another number would sum in another order
    images: int = 0
    seconds: float = 0.0  # in training steps, without evaluation and pictures
    interval_seconds: float = 0.0  # of these, since the last report
    epoch_sums: dict[str, float] = field(default_factory=dict)
    epoch_images: int = 0
    epoch_seconds: float = 0.0
    train: dict[str, float] = field(default_factory=dict)  # means over the last epoch
    best: dict[str, float] = field(default_factory=dict)  # validation metrics of the best epoch
    best_epoch: int = 0


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

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self._sums, self._images, self._unread = dict(state["sums"]), state["images"], []

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

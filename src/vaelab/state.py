"""What changes while a run trains, besides weights and moments."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class Progress:
    """Where a run stands: plain values, the part of its state that is not in a tensor."""

    step: int = 0
    epoch: int = 0  # whole epochs done
    position: int = 0  # images of this epoch's order that were used
    reported_step: int = 0  # the last step at which an epoch, or the run, was evaluated and reported
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
    """Sums of a step's values over images, kept on the device until they are read."""

    def __init__(self, device: torch.device) -> None:
        self.names: list[str] = []
        # MPS has no float64
        self.sums = torch.zeros((), device=device, dtype=torch.float32 if device.type == "mps" else torch.float64)
        self.images = 0

    def add(self, values: Mapping[str, Tensor], images: int) -> None:
        """Add the means over a batch of that many images."""
        self.names = list(values)
        batch = torch.stack([value.detach() for value in values.values()])
        self.sums = self.sums + batch.to(self.sums.dtype) * images
        self.images += images

    def read(self) -> tuple[dict[str, float], int]:
        """The sums and the number of images since the last call; waits for the device."""
        images = self.images
        sums = dict(zip(self.names, self.sums.tolist(), strict=True)) if images else {}
        self.sums, self.images = self.sums.new_zeros(()), 0
        return sums, images

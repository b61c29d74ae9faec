"""What a training tells while it runs: rows of metrics, a progress bar, a line an epoch."""

import logging
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from vaelab.evaluation.metrics import label
from vaelab.training.meter import Meter
from vaelab.training.progress import ProgressBar
from vaelab.training.state import Progress

log = logging.getLogger(__name__)

SHOWN = ("elbo", "reconstruction", "kl")  # of a validation, in the line of an epoch


class Recorder(Protocol):
    """Where a training's metrics and pictures go."""

    @property
    def position(self) -> object:
        """The place in `metrics.jsonl`, for a checkpoint to keep."""

    def log(self, row: Mapping[str, float]) -> None:
        """Write a row of metrics with `step` and `epoch`."""

    def log_pictures(self, names: Iterable[str]) -> None:
        """Send pictures of the run directory, such as `samples.png`, with the next row."""

    def draw_curves(self, title: str, picture_format: str) -> None:
        """Draw `curves.png` from the rows, and in another format where one is wanted."""

    def rewind(self, position: Any) -> None:
        """Drop the rows that came after a checkpoint, None for all; ValueError where the position can be none."""


def log_interval(
    recorder: Recorder, progress: Progress, meter: Meter, epoch: float, extra: Mapping[str, float]
) -> dict[str, float] | None:
    """Log the means over the steps since the last call with images/s; returns the row, None where there were no steps.

    Args:
        recorder: gets the row.
        progress: takes in the sums.
        meter: is emptied.
        epoch: epochs done.
        extra: further metrics of the row.
    """
    sums, images = meter.read()
    if images == 0:
        return None
    progress.count_images(sums, images)
    means = {f"train/{name}": total / images for name, total in sums.items()}
    speed = images / progress.interval_seconds
    row = {"step": progress.step, "epoch": epoch, **means, **extra, "images_per_second": speed}
    progress.interval_seconds = 0.0
    recorder.log(row)
    return row


def say_epoch(bar: ProgressBar, epoch: str, train: Mapping[str, float], val: Mapping[str, float], speed: float) -> None:
    """Log the line of an epoch, for the log alone where a progress bar shows the same."""
    name = "elbo" if "elbo" in train else "loss"
    parts = [f"epoch {epoch}", f"train {label(name)} {train[name]:.2f}"]
    if val:
        terms = ", ".join(f"{label(term)} {val[term]:.2f}" for term in SHOWN if term in val and term != name)
        parts.append(f"val {label(name)} {val[name]:.2f}" + (f" ({terms})" if terms else ""))
    parts.append(f"{speed:,.0f} images/s")
    log.log(logging.DEBUG if bar.visible else logging.INFO, "  ".join(parts))

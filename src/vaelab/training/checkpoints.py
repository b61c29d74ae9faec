"""What a run keeps in `checkpoints/`: the state to resume from, and the best weights."""

import time
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

import torch

from vaelab.errors import UserError, one_line
from vaelab.files.later import Later
from vaelab.machine.ranks import Ranks
from vaelab.parts import Facts, Objective
from vaelab.training import checkpoint, restored
from vaelab.training.average import MovingAverage
from vaelab.training.meter import Meter
from vaelab.training.state import Progress
from vaelab.training.step import has_networks

MOST_SECONDS = 30.0  # evaluation and pictures, and the other runs of a stack, can take longer than the training
AT_ONCE = 2  # the best and the last of an epoch wait for the disk while the next one is trained
KEYS = ("model", "average", "optimizer", "objective", "meter", "progress", "metrics_position")


class Checkpoints:
    """The checkpoints of one training.

    Args:
        run_dir: the run's directory.
        model: whose weights and buffers are kept.
        optimizer: whose moments are kept.
        objective: of which networks of its own are kept, with their moments.
        average: of the weights, or None.
        least_seconds: of training from one checkpoint on the disk to the next, unless `MOST_SECONDS` have passed.
    """

    def __init__(
        self,
        run_dir: Path,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        objective: Objective,
        average: MovingAverage | None,
        least_seconds: float = 0.0,
    ) -> None:
        self.run_dir = run_dir
        self.last = run_dir / "checkpoints" / "last.pt"
        self._model = model
        self._optimizer = optimizer
        self._networks = objective if has_networks(objective) else None
        self._average = average
        self._least_seconds = least_seconds
        self._later = Later(AT_ONCE)
        self._best: dict[str, Any] | None = None
        self._last: dict[str, Any] | None = None
        self._written = -inf  # seconds of training that are in last.pt
        self._asked = -inf  # when it was written
        self._is_ahead = False  # the best epoch, of what was last kept to resume from

    def save_last(self, meter: dict[str, Any], progress: Progress, metrics_position: object) -> None:
        """Keep in `last.pt`, from which the run goes on bit for bit, what is now; the file is there after `finish`."""
        own, kept = self._networks, None
        if own is not None:
            kept = {"weights": own.state_dict(), "optimizer": own.optimizer.state_dict()}
        self._last = checkpoint.copied(
            {
                "model": self._model.state_dict(),
                "average": None if self._average is None else self._average.state(),
                "optimizer": self._optimizer.state_dict(),
                "objective": kept,
                "meter": meter,
                "progress": asdict(progress),
                "metrics_position": metrics_position,
            }
        )
        self._is_ahead = False
        if progress.seconds - self._written >= self._least_seconds or time.monotonic() - self._asked >= MOST_SECONDS:
            self._write()

    def save_best(self, model: torch.nn.Module, facts: Facts, epoch: int, step: int, val: Mapping[str, float]) -> None:
        """Keep weights in `best.pt`, and in `model.safetensors` for other tools; the `save_last` of that epoch follows.

        The files are there after `finish`.
        """
        self._is_ahead = True
        self._best = checkpoint.copied(
            {
                "model": model.state_dict(),
                "objective": None if self._networks is None else self._networks.state_dict(),
                "facts": {**asdict(facts), "image_shape": list(facts.image_shape)},
                "epoch": epoch,
                "step": step,
                "val": dict(val),
            }
        )

    def finish(self) -> None:
        """Return when the disk has all; what is raised of a file that could not be written is here, or at the next."""
        try:
            self._write()
        finally:
            self._later.wait()

    def _write(self) -> None:
        """Begin to write what was kept and is not written."""
        if self._best is not None:
            self._later.do(partial(_write_best, self.run_dir, self._best))
            self._best = None
        if self._last is not None:
            self._later.do(partial(checkpoint.write, self.last, self._last))
            self._written, self._asked = self._last["progress"]["seconds"], time.monotonic()
            self._last = None
        if self._is_ahead:  # of another future, perhaps, unless last.pt soon knows of it
            self._written = -inf

    def load(self, ranks: Ranks, meter: Meter, images: int) -> tuple[Progress, Any] | None:
        """Go back to `last.pt`: the weights, the moments and the sums of the meter, once all are found to fit.

        Args:
            ranks: of which one reads the file.
            meter: to be filled.
            images: of an epoch.

        Returns:
            The progress and the place in `metrics.jsonl`, unchecked; None where there is no checkpoint.

        Raises:
            UserError: if it is damaged, or can be the state of no run, or not of this one.
        """
        # a file that holds None is no beginning, but a damaged one
        state, is_there = ranks.broadcast(lambda: (checkpoint.load(self.last), self.last.exists()))
        if state is None and not is_there:
            return None
        try:
            found = restored.entries("last.pt", state, KEYS)
            meter.restore(found["meter"])
            restored.sums("meter.sums", meter.state()["sums"], meter.images)
            progress = Progress.restored(found["progress"])
            progress.require_images(images, meter.images)
        except ValueError as error:
            raise self.unusable(error) from error
        self._restore_tensors(found)
        return progress, found["metrics_position"]

    def _restore_tensors(self, state: Mapping[str, Any]) -> None:
        """Load weights, average and optimizer; the optimizer keeps its own settings."""
        try:
            weights = restored.weights("weights", state["model"], self._model)
            optimizer = restored.optimizer_state(state["optimizer"], self._optimizer)
            own = self._networks
            if own is not None:
                kept = restored.entries("objective", state["objective"], ("weights", "optimizer"))
                own_weights = restored.weights("objective", kept["weights"], own)
                own_optimizer = restored.optimizer_state(kept["optimizer"], own.optimizer)
            average = state["average"]
            if self._average is not None and average is not None:  # one that is switched on later begins with weights
                average = restored.weights("average", average, self._average.model)
            self._model.load_state_dict(weights)
            self._optimizer.load_state_dict(optimizer)
            if own is not None:
                own.load_state_dict(own_weights)
                own.optimizer.load_state_dict(own_optimizer)
            if self._average is not None:
                self._average.restore(average)
        except (RuntimeError, TypeError, ValueError) as error:
            raise UserError(
                f"the checkpoint in {self.run_dir} does not fit the model or the optimizer ({one_line(error, 200)}); "
                f"resume with the model, latent size and optimizer of that run"
            ) from error

    def unusable(self, reason: Exception) -> UserError:
        """The sentence for a checkpoint that cannot be the state of a run."""
        return UserError(
            f"the checkpoint in {self.run_dir} cannot be gone on with ({one_line(reason, 200)}); restore "
            f"checkpoints from a copy, or start the run again in another directory"
        )


def _write_best(run_dir: Path, state: dict[str, Any]) -> None:
    checkpoint.write(run_dir / "checkpoints" / "best.pt", state)
    checkpoint.export_weights(run_dir, state["model"])

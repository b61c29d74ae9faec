"""What is measured: a model, the images of a split, and the seed of what measures draw."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from vaelab.dataset.images import Dataset, Split
from vaelab.evaluation.evaluator import batches
from vaelab.parts import Model


def nothing(said: object) -> None:
    """What is called when nobody wants to see how far a measure is."""


class LeftOutError(Exception):
    """A measure that a model or a dataset has not; the reason follows its name."""


@dataclass(frozen=True)
class Found:
    """What one measure gives.

    Args:
        metrics: by the names of the one table of metrics.
        errors: standard errors of some of them.
        lists: figures by dimension, group or factor.
        setting: what the figures depend on, for people.
        settings: of metrics that depend on something else.
        left_out: metrics that could not be had, with the reasons.
    """

    metrics: dict[str, float]
    errors: dict[str, float] = field(default_factory=dict)
    lists: dict[str, list[float]] = field(default_factory=dict)
    setting: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Subject:
    """A model and the images to measure it by.

    Args:
        model: in evaluation mode.
        dataset: that it was trained on.
        split: of it.
        batch_size: images at a time; drawn pixels depend on it, and are those of the ELBO.
        seed: of all that measures draw.
        advance: called with numbers of images that a measure has seen.
        sampler: where samples' latents come from, `prior` or a density fitted to embeddings of training images.
    """

    model: Model
    dataset: Dataset
    split: Split
    batch_size: int
    seed: int = 0
    advance: Callable[[int], None] = nothing
    sampler: str = "prior"

    def batches(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Pixels and labels of the split as the model sees them, on its device."""
        for _, (x, y, _) in batches(self.model, self.dataset, self.split, self.batch_size):
            yield x, y
            self.advance(len(x))

    @cached_property
    def embedded(self) -> Tensor:
        """z at zero noise of the split's images, (N, D) on the CPU."""
        return embedded(self.model, self.dataset, self.split, self.batch_size, self.advance)

    @cached_property
    def embedded_train(self) -> Tensor:
        """The same of the images trained on."""
        return embedded(self.model, self.dataset, self.dataset.train, self.batch_size, self.advance)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device


@torch.no_grad()
def embedded(
    model: Model, dataset: Dataset, split: Split, batch_size: int, advance: Callable[[int], None] = nothing
) -> Tensor:
    """z at zero noise of each image, (N, D) on the CPU; `advance` is called with numbers of images done."""
    parts = []
    for _, (x, y, _) in batches(model, dataset, split, batch_size):
        parts.append(model.embed(x, y).cpu())
        advance(len(x))
    return torch.cat(parts)


def check_finite(*z: Tensor) -> None:
    """Raise LeftOutError unless all embeddings are finite numbers."""
    if not all(part.isfinite().all() for part in z):
        raise LeftOutError("needs latents that are finite numbers")


def mean_and_error(values: Tensor) -> tuple[float, float]:
    """The mean of values (N,) and its standard error, the standard deviation / sqrt(N); NaN for one value."""
    values = values.double()
    return values.mean().item(), (values.std() / len(values) ** 0.5).item() if len(values) > 1 else math.nan

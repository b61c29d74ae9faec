"""What pictures show: a model at the end of an epoch, and the images that it is shown by."""

from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor

from vaelab.dataset.images import Dataset
from vaelab.ops import generator
from vaelab.parts import Model
from vaelab.vae import VAE

EMBEDDED = 5000  # images at most
SCORED = 1000  # images at most, whose KL is taken, for which they are decoded too
AT_ONCE = 500


class Shown:
    """A model and the validation images, or without any the training images, that it is shown by.

    Args:
        model: the model.
        dataset: what the pixels are.
        epoch: its number, for titles.
    """

    def __init__(self, model: Model, dataset: Dataset, epoch: int) -> None:
        self.model = model
        self.dataset = dataset
        self.epoch = epoch
        self.split = dataset.val if len(dataset.val.images) else dataset.train
        self.title = f"{dataset.name}, epoch {epoch}"
        self.device = next(model.parameters()).device

    @property
    def space(self) -> str | None:
        """Where z of a `VAE` lives: `real`, `sphere`, or of a posterior of codes `codes`; None of a whole model."""
        if not isinstance(self.model, VAE):
            return None
        posterior = self.model.posterior
        return "codes" if hasattr(posterior, "prior") else getattr(posterior, "space", "real")

    def at(self, index: Tensor) -> tuple[Tensor, Tensor | None]:
        """The images of these numbers as the model sees them, and their labels where it takes labels."""
        part = self.split.at(index)
        x = self.dataset.pixels(part.images, generator(0, "pictures")).to(self.device)
        return x, part.labels.to(self.device).long() if self.model.takes_labels else None

    def classes(self, count: int) -> Tensor | None:
        """0, 1, 2, ... again and again, (N,), where the model takes labels."""
        if not self.model.takes_labels:
            return None
        return torch.arange(count, device=self.device) % self.dataset.num_classes

    @cached_property
    def embeddings(self) -> Tensor:
        """z at zero noise of the first images, (N, D)."""
        return torch.cat([self.model.embed(x, y) for x, y in self._batches(EMBEDDED)])

    @cached_property
    def kl(self) -> tuple[Tensor, ...]:
        """KL(q(z|x) || p(z)) of each group of latents by dimension, (D,), a mean over the first images, in nats.

        It is (1,) where it is known of a group as a whole only, and there are no groups where q has no density.
        """
        sums: list[Tensor] = []
        for index, (x, y) in enumerate(self._batches(SCORED)):
            trace = self.model(x, self.model.noise(1, len(x), generator(0, "KL of pictures", index)), y)
            if not trace.has_density:
                return ()
            of_batch = [latent.kl.sum(0) for latent in trace.latents]
            sums = [a + b for a, b in zip(sums, of_batch, strict=True)] if sums else of_batch
        return tuple((total / min(SCORED, len(self.split.images))).cpu() for total in sums)

    @property
    def kl_by_dimension(self) -> Tensor | None:
        """The KL of the one group of latents, (D,), where it is known by dimension."""
        return self.kl[0] if len(self.kl) == 1 and len(self.kl[0]) == self.model.latent_dim else None

    def _batches(self, most: int) -> Iterator[tuple[Tensor, Tensor | None]]:
        for index in torch.arange(min(most, len(self.split.images))).split(AT_ONCE):
            yield self.at(index)

"""What a training reports of a model: the ELBO and its terms, bits per dimension."""

import math
from collections.abc import Callable, Iterator
from itertools import chain, islice
from operator import itemgetter

import torch
from torch import Tensor

from vaelab.dataset.images import Dataset, Split
from vaelab.machine.ranks import SINGLE, Ranks
from vaelab.ops import bits_per_dim, generator
from vaelab.parts import MASS, Model, Objective

Batch = tuple[Tensor, Tensor | None, torch.Generator]  # pixels and labels on the model's device, a generator on the CPU


def nothing() -> None:
    """What is called between two batches when nobody wants to interrupt."""


@torch.no_grad()
def evaluate(
    model: Model,
    objective: Objective,
    dataset: Dataset,
    split: Split,
    batch_size: int,
    may_stop: Callable[[], None] = nothing,
    ranks: Ranks = SINGLE,
) -> dict[str, float]:
    """Means over the images of a split, in nats per image, with the same noise at every call.

    `elbo`, `reconstruction` and `kl` are the trace's, whatever the objective. A loss that is no mean over images is
    averaged over batches, weighted by their sizes, and depends on `batch_size`.

    Args:
        model: the model.
        objective: gives `loss`, after any warm-up, and the number of samples of z.
        dataset: what the pixels are.
        split: uint8 images, on any device, and labels.
        batch_size: images at a time; the noise depends on it, and not on the device.
        may_stop: called before each batch; may raise.
        ranks: share the batches, and all get the means.

    Returns:
        `elbo`, `reconstruction`, `kl` (`reconstruction` alone where q(z|x) has no density), the model's and the
        objective's further terms, `loss`, and `bits_per_dim` where the likelihood gives probabilities of pixels.
    """
    own: list[tuple[int, dict[str, float]]] = []  # number of the batch, its sums
    for index, (x, y, noise) in batches(model, dataset, split, batch_size, may_stop, ranks):
        loss, trace, terms = objective(model, x, model.noise(objective.samples, len(x), noise), None, y)
        values = {**trace.terms, **terms, "loss": loss}
        own.append((index, {name: value.item() * len(x) for name, value in values.items()}))
    sums: dict[str, float] = {}
    for _, totals in sorted(chain.from_iterable(ranks.all_gather(own)), key=itemgetter(0)):  # any ranks add up the same
        for name, total in totals.items():
            sums[name] = sums.get(name, 0.0) + total
    means = {name: total / len(split.images) for name, total in sums.items()}
    if "elbo" in means and model.likelihood.pixels[dataset.pixel_kind] == MASS:
        means["bits_per_dim"] = bits_per_dim(-means["elbo"], math.prod(split.images.shape[1:]))
    return means


def batches(
    model: Model,
    dataset: Dataset,
    split: Split,
    batch_size: int,
    may_stop: Callable[[], None] = nothing,
    ranks: Ranks = SINGLE,
) -> Iterator[tuple[int, Batch]]:
    """The batches of this rank, with their numbers; the same pixels and generators at every call."""
    device = next(model.parameters()).device
    for index, start in islice(enumerate(range(0, len(split.images), batch_size)), ranks.rank, None, ranks.size):
        may_stop()
        noise = generator(0, "evaluate", index)
        x = dataset.pixels(split.images[start : start + batch_size].to(device), noise)
        y = split.labels[start : start + batch_size].to(device).long() if model.takes_labels else None
        yield index, (x, y, noise)

"""What a trained model is worth: the ELBO and its terms, bits per dimension, the importance-weighted likelihood."""

import math
from collections.abc import Callable, Iterator
from itertools import chain, islice
from operator import itemgetter

import torch
from torch import Tensor

from vaelab.dataset.images import Dataset
from vaelab.machine.ranks import ALONE, Ranks
from vaelab.objective.elbo import ELBO
from vaelab.ops import binarize, bits_per_dim, generator, log_mean_exp, normal, uniform_like, unit_interval
from vaelab.parts import MASS
from vaelab.vae import VAE


def nothing() -> None:
    """What is called between two batches when nobody wants to interrupt."""


@torch.no_grad()
def evaluate(
    vae: VAE,
    objective: ELBO,
    dataset: Dataset,
    images: Tensor,
    batch_size: int,
    between_batches: Callable[[], None] = nothing,
    ranks: Ranks = ALONE,
) -> dict[str, float]:
    """Means over the images, in nats per image, with the same noise at every call.

    Args:
        vae: the model.
        objective: gives `loss`, after any warm-up, and the number of samples of z.
        dataset: what the pixels are.
        images: (N, C, H, W) uint8, on any device.
        batch_size: images at a time; the noise depends on it, and not on the device.
        between_batches: called before each batch; may raise.
        ranks: share the batches, and all get the means.

    Returns:
        `elbo`, `reconstruction`, `kl`, `loss`, and `bits_per_dim` where the likelihood gives probabilities of pixels.
    """
    found: list[tuple[int, int, dict[str, Tensor]]] = []  # number of the batch, its images, its means
    for index, x, noise in _batches(vae, dataset, images, batch_size, between_batches, ranks):
        loss, terms = objective(vae(x, normal((objective.samples, len(x), vae.latent_dim), noise, x.device)))
        found.append((index, len(x), {**terms, "loss": loss}))
    own = [(index, {name: value.item() * count for name, value in terms.items()}) for index, count, terms in found]
    sums: dict[str, float] = {}
    for _, totals in sorted(chain.from_iterable(ranks.gather(own)), key=itemgetter(0)):  # any ranks add up the same
        for name, total in totals.items():
            sums[name] = sums.get(name, 0.0) + total
    means = {name: total / len(images) for name, total in sums.items()}
    if vae.likelihood.supports[dataset.support] == MASS:
        means["bits_per_dim"] = bits_per_dim(-means["elbo"], math.prod(images.shape[1:]))
    return means


@torch.no_grad()
def log_likelihood(
    vae: VAE, dataset: Dataset, images: Tensor, samples: int, batch_size: int, samples_at_once: int = 50
) -> float:
    """The importance-weighted bound log (1/K) sum p(x, z_k) / q(z_k|x), a mean over images in nats.

    It rises to log p(x) as K = `samples` grows (Burda et al., 2016). The images may lie on any device.
    """
    total = 0.0
    for _, x, noise in _batches(vae, dataset, images, batch_size, nothing, ALONE):
        log_weights = []  # (K', B) each
        for first in range(0, samples, samples_at_once):
            k = min(samples_at_once, samples - first)
            trace = vae(x, normal((k, len(x), vae.latent_dim), noise, x.device))
            log_weights.append(trace.log_px + trace.log_pz - trace.log_qz)
        total += log_mean_exp(torch.cat(log_weights), dim=0).sum().item()
    return total / len(images)


def _batches(
    vae: VAE,
    dataset: Dataset,
    images: Tensor,
    batch_size: int,
    between_batches: Callable[[], None],
    ranks: Ranks,
) -> Iterator[tuple[int, Tensor, torch.Generator]]:
    """Number, pixels on the device of the model, and generator, on the CPU, of each batch of this rank."""
    device = next(vae.parameters()).device
    for index, batch in islice(enumerate(images.split(batch_size)), ranks.rank, None, ranks.size):
        between_batches()
        noise = generator(0, "evaluate", index)
        x = unit_interval(batch.to(device))
        yield index, binarize(x, uniform_like(x, noise)) if dataset.dynamic else x, noise

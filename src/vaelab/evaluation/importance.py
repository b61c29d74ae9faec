"""The importance-weighted bound on log p(x), image by image, with as many samples as one has time for."""

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor

from vaelab.dataset.images import Dataset, Split
from vaelab.evaluation.evaluator import batches
from vaelab.evaluation.subject import nothing
from vaelab.likelihood.bernoulli import BernoulliLikelihood
from vaelab.machine.threads import own_number_of_threads
from vaelab.ops import generator
from vaelab.parts import Latent, Model, Noise, Trace
from vaelab.vae import VAE

BLOCK = 256  # samples, of all images together, whose noise is drawn at once: one size for all devices
# Samples that are decoded at once: enough to fill a device, few enough for a CPU's cache.
AT_ONCE = {"cpu": BLOCK, "cuda": 32_768, "mps": 8192}
LARGEST_GROUP = 112  # factors of 1/2 or more whose product float32 holds


def log_likelihood(
    model: Model,
    dataset: Dataset,
    split: Split,
    samples: int,
    batch_size: int,
    seed: int = 0,
    at_once: int | None = None,
    advance: Callable[[int], None] = nothing,
) -> Tensor:
    """log (1/K) sum_k p(x, z_k) / q(z_k|x) of each image in nats, (N,) float64 on the CPU.

    A lower bound of log p(x) in the mean, which rises to it as K = `samples` grows (Burda et al., 2016,
    arXiv:1509.00519). Each image is encoded once, and has noise of its own.

    Args:
        model: the model.
        dataset: what the pixels are; where they are drawn they are those of `evaluate` with the same `batch_size`.
        split: the images.
        samples: K.
        batch_size: as of `evaluate`.
        seed: of the noise, which depends on K too, and on nothing else.
        at_once: samples decoded together, in whole blocks of 256; the default suits the device.
        advance: called with the number of images done since the last call.

    Raises:
        UserError: if q(z|x) has no density.
    """
    device = next(model.parameters()).device
    at_once = at_once or AT_ONCE.get(device.type, AT_ONCE["cpu"])
    images_at_once = max(1, BLOCK // samples)

    @torch.inference_mode()
    def bound(task: tuple[Tensor, Tensor | None, torch.Generator]) -> Tensor:
        x, y, noise = task
        found = _log_mean(_encoded(model, x, y), model, len(x), samples, noise, at_once)
        advance(len(x))
        return found

    def tasks() -> Iterator[tuple[Tensor, Tensor | None, torch.Generator]]:
        for index, (x, y, _) in batches(model, dataset, split, batch_size):
            for start in range(0, len(x), images_at_once):
                some = slice(start, start + images_at_once)
                yield x[some], None if y is None else y[some], generator(seed, f"importance {index}", start)

    with _workers(device) as run:
        return torch.cat(list(run(bound, tasks())))


@contextmanager
def _workers(device: torch.device) -> Iterator[Callable[..., Iterator[Tensor]]]:
    """A `map` that gives each core of a CPU images of its own.

    Threads that share one product wait for each other at its end, a hundred times slower where another program has one
    of their cores; those that share no product never do.
    """
    cores = torch.get_num_threads()
    if device.type != "cpu" or cores == 1:
        yield map
        return
    one_each = partial(torch.set_num_threads, 1)  # which becomes the default of later threads too, hence undone
    with own_number_of_threads(), ThreadPoolExecutor(cores, initializer=one_each) as pool:
        yield pool.map


def _log_mean(
    log_w: Callable[[Noise], Tensor], model: Model, images: int, samples: int, noise: torch.Generator, at_once: int
) -> Tensor:
    """log of the mean weight of each image (B,), from chunks of samples of which none is kept."""
    chunk = max(BLOCK, at_once // BLOCK * BLOCK)
    total = torch.full((images,), -math.inf, dtype=torch.float64)
    for first in range(0, samples, chunk):
        sizes = [min(BLOCK, samples - start) for start in range(first, min(first + chunk, samples), BLOCK)]
        drawn = _joined([model.noise(size, images, noise) for size in sizes])
        total = torch.logaddexp(total, log_w(drawn).cpu().double().logsumexp(0))
    return total - math.log(samples)


def _joined(blocks: list[Noise]) -> Noise:
    if isinstance(blocks[0], Tensor):
        return torch.cat(blocks)
    return tuple(torch.cat(groups) for groups in zip(*blocks, strict=True))


def _encoded(model: Model, x: Tensor, y: Tensor | None) -> Callable[[Noise], Tensor]:
    """From noise to log p(x, z) - log q(z|x), (K, B), with x encoded once."""
    if not (isinstance(model, VAE) and type(model.likelihood) is BernoulliLikelihood):
        trace = model.encode(x, y)
        return lambda noise: trace(noise).log_w
    q, p = model.infer(x, y), model.prior_of(y)

    def log_w(noise: Tensor) -> Tensor:
        z, log_q = q.draw(noise)
        params = model.decode(z.flatten(0, 1), None if y is None else y.repeat(len(noise)))
        logits = model.likelihood.logits(params)
        log_px = log_bernoulli(logits.view(len(noise), len(x), -1), x.flatten(1))
        return Trace(log_px, (Latent(z, log_q, q, p),)).log_w

    return log_w


def log_bernoulli(logits: Tensor, x: Tensor) -> Tensor:
    """log p(x) of pixels x (B, P) with logits (K, B, P), summed, (K, B): x·l - sum max(l, 0) + log prod sigmoid(|l|).

    As `BernoulliLikelihood.log_prob`, without its logarithm of each pixel, which would take as long as the decoder.
    """
    linear = torch.einsum("kbp,bp->kb", logits, x) if len(x) > 1 else (logits @ x[0])
    pixels = logits.shape[-1]
    group = max(size for size in range(1, LARGEST_GROUP + 1) if pixels % size == 0)
    sizes = logits.abs()
    positive = 0.5 * (logits.sum(-1) + sizes.sum(-1))  # the sum of max(l, 0), without memory for each
    factors = sizes.sigmoid_().unflatten(-1, (-1, group))  # each from 1/2 to 1
    return linear - positive + factors.prod(-1).log_().sum(-1)

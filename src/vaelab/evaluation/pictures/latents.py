"""Pictures of the latent space of a trained model, drawn once at the end of a run.

Each is made from what is `Shown`, and None where the model, the images or the latents are none of which it tells.
"""

import inspect
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from vaelab.distributions import Distribution, Normal, StandardNormal, draw_at
from vaelab.evaluation.latents import ACTIVE
from vaelab.evaluation.pictures.figures import bars, posterior_means
from vaelab.evaluation.pictures.grids import labelled_grid
from vaelab.evaluation.pictures.shown import SCORED, Shown
from vaelab.ops import generator, normal

PAIRS, STEPS = 4, 11  # of images to go between; points on the way
ROWS, DEVIATIONS = 10, 3  # of traversals
TEMPERATURES = (0.5, 0.7, 1.0, 1.2)
SAMPLES = 12  # at each temperature
PRIOR_SAMPLES = 4096  # for a standard deviation that is known to one percent
MIN_IMAGES = 3  # for a map
SMALLEST_SINE = 1e-6


def draw_interpolations(shown: Shown) -> Image.Image | None:
    """Images on the way between pairs of images in latent space: in a straight line, and along the arc."""
    index = _pairs(shown)
    spherical = {} if shown.model.latent_dim == 1 else {"spherical": slerp}
    straight = {} if shown.space == "sphere" else {"straight": lerp}  # which leaves the sphere
    ways = {**straight, **spherical}
    if shown.space not in ("real", "sphere") or not len(index) or not ways:
        return None
    x, y = shown.at(index.flatten())
    first, last = shown.model.embed(x, y).unflatten(0, (-1, 2)).unbind(1)  # (P, D) twice
    t = torch.linspace(0, 1, STEPS, device=first.device)
    z = torch.stack([way(first, last, t) for way in ways.values()], dim=1)  # (P, ways, STEPS, D)
    labels = None if y is None else y[::2].repeat_interleave(len(ways) * STEPS)
    between = _decoded(shown, z, labels)  # (P, ways, STEPS, C, H, W)
    ends = x.unflatten(0, (-1, 2)).unsqueeze(1).expand(-1, len(ways), -1, -1, -1, -1)
    images = torch.cat([ends[:, :, :1], between, ends[:, :, 1:]], dim=2).flatten(0, 2)
    title = f"{shown.title}: the mean of p(x|z) on the way from the z of the image on the left to that of the right"
    rows = [f"pair {pair + 1}\n{way}" for pair in range(len(index)) for way in ways]
    return labelled_grid(images, STEPS + 2, title, rows, ["image", *(f"{step:.1f}" for step in t), "image"])


def draw_traversals(shown: Shown) -> Image.Image | None:
    """Images as one dimension of an image's z is set to -3 to 3 standard deviations of the prior, a row each."""
    if shown.space != "real":
        return None
    x, y = shown.at(torch.zeros(1, dtype=torch.long))
    z = shown.model.embed(x, y)  # (1, D)
    dimensions, labels = _most_used(shown)
    mean, std = _marginals(shown, y)
    steps = torch.linspace(-DEVIATIONS, DEVIATIONS, 4 * DEVIATIONS + 1, device=z.device)
    points = z.repeat(len(dimensions), len(steps), 1)
    for row, dimension in enumerate(dimensions):
        points[row, :, dimension] = mean[dimension] + std[dimension] * steps
    decoded = _decoded(shown, points, None if y is None else y.repeat(len(dimensions) * len(steps)))
    images = torch.cat([x.expand(len(dimensions), 1, *x.shape[1:]), decoded], dim=1).flatten(0, 1)
    way = f"from -{DEVIATIONS} to {DEVIATIONS} standard deviations of p(z)"
    title = f"{shown.title}: the mean of p(x|z) as one dimension of the image's z goes {way}"
    return labelled_grid(images, len(steps) + 1, title, labels, ["image", *(f"{step:.1f}" for step in steps)])


def draw_samples_by_temperature(shown: Shown) -> Image.Image | None:
    """Samples from the prior at several temperatures, a row each, of the same noise in each column."""
    y = shown.classes(SAMPLES)
    if shown.space == "real":
        rows = _samples_of_flat(shown, y)
        is_normal = isinstance(shown.model.prior_of(y), StandardNormal | Normal)
        what = "T scales the " + ("standard deviation of p(z)" if is_normal else "noise p(z) is made from")
    elif shown.space is None and "temperature" in inspect.signature(shown.model.sample).parameters:
        rows = [_samples_of_whole(shown, temperature, y) for temperature in TEMPERATURES]
        what = "T scales the standard deviation of each group"
    else:
        return None
    labels = [f"T = {temperature:.1f}" for temperature in TEMPERATURES]
    title = f"{shown.title}: samples by temperature T, the same noise in each column; {what}"
    return labelled_grid(torch.cat(rows), SAMPLES, title, labels)


def draw_kl_by_dimension(shown: Shown) -> Any:
    """A bar chart of the KL of each dimension, the largest first, or of a ladder's groups from the top down."""
    nats = f"KL(q(z|x) || p(z)), nats per image,\nmean over {min(len(shown.split.images), SCORED):,} images"
    if len(shown.kl) > 1:
        sums = [group.sum().item() for group in shown.kl]
        names = [str(number + 1) for number in range(len(sums))]
        title = f"{shown.title}: KL of each group of latents, {sum(sums):.2f} nats in all"
        return bars(sums, names, {"": [True] * len(sums)}, ("group of latents, from the top down", nats), title)
    kl = shown.kl_by_dimension
    if kl is None or len(kl) == 1:
        return None
    order = kl.argsort(descending=True)
    is_active = (shown.embeddings.cpu().var(0, correction=0) > ACTIVE)[order]
    kinds = {f"{is_active.sum()} active: the variance of z at zero noise is above {ACTIVE}": is_active.tolist()}
    if not is_active.all():
        kinds[f"{(~is_active).sum()} not active"] = (~is_active).tolist()
    names = [str(dimension + 1) for dimension in order.tolist()]
    title = f"{shown.title}: KL of each dimension, {kl.sum():.2f} nats in all"
    return bars(kl[order].tolist(), names, kinds, ("dimension of z, the largest KL first", nats), title)


def draw_posterior_means(shown: Shown) -> Any:
    """A map of the images' z at zero noise: of two dimensions as they are, of more on their first two components."""
    means = shown.embeddings.float().cpu()
    if means.shape[1] < 2 or len(means) < MIN_IMAGES or not means.isfinite().all():
        return None
    names, title = ["$z_1$", "$z_2$"], f"{shown.title}: z at zero noise of q(z|x)"
    if means.shape[1] > 2:
        means, shares = principal_components(means)
        names = [f"PC {i + 1}, {share:.0%} of the variance" for i, share in enumerate(shares)]
    labels = None if shown.split.labels is None else shown.split.labels[: len(means)].cpu().numpy()
    return posterior_means(means.numpy(), labels, names, title)


def lerp(first: Tensor, last: Tensor, t: Tensor) -> Tensor:
    """Points at t (S,) of the straight line from `first` to `last`, (..., D) -> (..., S, D)."""
    return first.unsqueeze(-2) + t.unsqueeze(-1) * (last - first).unsqueeze(-2)


def slerp(first: Tensor, last: Tensor, t: Tensor) -> Tensor:
    """Points at t (S,) of the way from `first` to `last` along the arc, (..., D) -> (..., S, D).

    The direction turns at a constant rate and the norm goes evenly from one to the other, so that no point is nearer to
    the origin than both ends, where a normal prior of many dimensions has no mass (White, 2016, arXiv:1609.04468).
    Points on one line through the origin have no arc, and get the straight line.
    """
    sizes = first.norm(dim=-1, keepdim=True), last.norm(dim=-1, keepdim=True)
    a, b = (torch.nn.functional.normalize(z, dim=-1).unsqueeze(-2) for z in (first, last))
    # acos of a product of the two would lose half of the digits of small angles
    angle = 2 * torch.atan2((a - b).norm(dim=-1, keepdim=True), (a + b).norm(dim=-1, keepdim=True))
    has_arc = (torch.sin(angle) > SMALLEST_SINE) & (sizes[0] * sizes[1] > 0).unsqueeze(-2)
    steps = t.unsqueeze(-1)
    arc = (torch.sin((1 - steps) * angle) * a + torch.sin(steps * angle) * b) / torch.sin(angle)
    return torch.where(has_arc, lerp(*sizes, t) * arc, lerp(first, last, t))


def principal_components(points: Tensor) -> tuple[Tensor, list[float]]:
    """The first two principal components of points, (N, D) -> (N, 2), and their shares of the variance.

    The sign of each is the one that makes the largest weight of a dimension positive.
    """
    centred = points - points.mean(0)
    # scikit-learn's PCA does the same and takes a second to import
    _, sizes, axes = torch.linalg.svd(centred, full_matrices=False)
    axes = axes[:2] * axes[:2].gather(1, axes[:2].abs().argmax(1, keepdim=True)).sign()  # (2, D)
    variances = sizes.square()
    return centred @ axes.T, (variances[:2] / variances.sum().clamp_min(torch.finfo(points.dtype).tiny)).tolist()


def _pairs(shown: Shown) -> Tensor:
    """The numbers of the images to go between, (P, 2); where the model takes labels, both of a pair have the same."""
    if not shown.model.takes_labels:
        count = min(PAIRS, len(shown.split.images) // 2)
        return torch.arange(2 * count).view(count, 2)
    labels = shown.split.labels
    found = (torch.nonzero(labels == label).flatten()[:2] for label in labels.unique())
    pairs = [pair for pair in found if len(pair) == 2][:PAIRS]
    return torch.stack(pairs) if pairs else torch.empty(0, 2, dtype=torch.long)


def _most_used(shown: Shown) -> tuple[list[int], list[str]]:
    """The dimensions that tell most of an image, at most ROWS, by their KL or where it is not known their variance."""
    kl = shown.kl_by_dimension
    use = shown.embeddings.var(0, correction=0) if kl is None else kl
    dimensions = use.argsort(descending=True)[:ROWS].tolist()
    unit = "variance {:.2f}" if kl is None else "{:.2f} nats"
    return dimensions, [f"z{dimension + 1}\n{unit.format(use[dimension])}" for dimension in dimensions]


def _marginals(shown: Shown, y: Tensor | None) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each dimension of p(z), or p(z|y) with y (1,), (D,) each; of a sample mostly."""
    prior = shown.model.prior_of(None if y is None else y.expand(PRIOR_SAMPLES))
    eps = normal((PRIOR_SAMPLES, shown.model.latent_dim), generator(0, "marginals of p(z)"), shown.device)
    if isinstance(prior, StandardNormal):
        return torch.zeros_like(eps[0]), torch.ones_like(eps[0])
    z, _ = prior.draw(eps)
    return z.mean(0), z.std(0)


def _samples_of_flat(shown: Shown, y: Tensor | None) -> list[Tensor]:
    prior: Distribution = shown.model.prior_of(y)
    eps = normal((SAMPLES, shown.model.latent_dim), generator(0, "temperatures"), shown.device)
    return [_decoded(shown, draw_at(prior, eps, temperature), y) for temperature in TEMPERATURES]


def _samples_of_whole(shown: Shown, temperature: float, y: Tensor | None) -> Tensor:
    return shown.model.sample(SAMPLES, generator(0, "temperatures"), y, temperature=temperature)


def _decoded(shown: Shown, z: Tensor, y: Tensor | None) -> Tensor:
    """The mean of p(x|z), (..., D) -> (..., C, H, W), with a label (N,) for each z where the model takes them."""
    images = shown.model.likelihood.mean(shown.model.decode(z.flatten(0, -2), y))
    return images.unflatten(0, z.shape[:-1])

"""The pictures a run leaves: samples, reconstructions, and for two latent dimensions the latent plane."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from vaelab.dataset.images import Dataset, Split
from vaelab.distributions import StandardNormal
from vaelab.evaluation.figures import save_grid, save_posterior_means, side_by_side
from vaelab.files import folder
from vaelab.ops import generator, normal
from vaelab.parts import Model
from vaelab.vae import VAE

SAMPLES = 64
RECONSTRUCTIONS = 24
PLANE = 16  # images along each side of the latent plane
POSTERIOR_MEANS = 5000
EMBEDDED_AT_ONCE = 500
PRIOR_SAMPLES = 65_536  # for quantiles that are known to 0.01 standard deviations


@torch.no_grad()
def draw_pictures(model: Model, dataset: Dataset, run_dir: Path, epoch: int, may_stop: Callable[[], None]) -> list[str]:
    """Write the pictures of an epoch to the run directory and return their names; `may_stop` may raise."""
    title = f"{dataset.name}, epoch {epoch}"
    shown = dataset.val if len(dataset.val.images) else dataset.train
    may_stop()
    _draw_samples(model, dataset, run_dir, epoch, title)
    may_stop()
    _draw_reconstructions(model, dataset, shown, run_dir, title)
    if not isinstance(model, VAE) or model.takes_labels or model.latent_dim != 2:
        return ["samples.png", "reconstructions.png"]
    may_stop()
    plane_title = f"{title}: the mean of p(x|z) at quantiles of p(z1), to the right, and p(z2), upwards"
    save_grid(run_dir / "latent_plane.png", _plane(model), PLANE, plane_title)
    may_stop()
    _draw_posterior_means(model, dataset, shown, run_dir, title)
    return ["samples.png", "reconstructions.png", "latent_plane.png", "posterior_means.png"]


def _draw_samples(model: Model, dataset: Dataset, run_dir: Path, epoch: int, title: str) -> None:
    y = _labels_in_turn(SAMPLES, dataset, model)
    images = model.sample(SAMPLES, generator(0, "samples"), y)
    picture = save_grid(run_dir / "samples.png", images, 8, f"{title}: samples, the mean of p(x|z) for z ~ p(z)")
    folder.make(run_dir, "images")
    folder.write(run_dir, f"images/samples-{epoch:04d}.png", picture)


def _draw_reconstructions(model: Model, dataset: Dataset, shown: Split, run_dir: Path, title: str) -> None:
    x, y = _as_seen(model, dataset, shown, 0, RECONSTRUCTIONS)
    pairs = side_by_side(x, model.reconstruct(x, y), 8)
    title = f"{title}: originals, each row above its reconstructions"
    save_grid(run_dir / "reconstructions.png", pairs, 8, title)


def _draw_posterior_means(model: Model, dataset: Dataset, shown: Split, run_dir: Path, title: str) -> None:
    count = min(POSTERIOR_MEANS, len(shown.images))
    starts = range(0, count, EMBEDDED_AT_ONCE)
    seen = (_as_seen(model, dataset, shown, start, min(start + EMBEDDED_AT_ONCE, count)) for start in starts)
    means = torch.cat([model.embed(x, y) for x, y in seen])
    labels = None if shown.labels is None else shown.labels[:count]
    title = f"{title}: z at zero noise, the mean of a Gaussian q(z|x)"
    save_posterior_means(run_dir / "posterior_means.png", means, labels, title)


def _as_seen(model: Model, dataset: Dataset, shown: Split, start: int, end: int) -> tuple[Tensor, Tensor | None]:
    """Images and labels of a split as the model sees them, on its device."""
    device = next(model.parameters()).device
    x = dataset.pixels(shown.images[start:end], generator(0, "pictures")).to(device)
    return x, shown.labels[start:end].to(device).long() if model.takes_labels else None


def _labels_in_turn(count: int, dataset: Dataset, model: Model) -> Tensor | None:
    """0, 1, 2, ... again and again, (N,), where the model takes labels."""
    if not model.takes_labels:
        return None
    return torch.arange(count, device=next(model.parameters()).device) % dataset.num_classes


def _plane(model: VAE) -> Tensor:
    """The mean of p(x|z), (PLANE², C, H, W), at equally probable steps of each marginal of p(z), the largest z2 first.

    The steps are those of a sample, the same at each call, and exact for a standard normal.
    """
    levels = (torch.arange(PLANE) + 0.5) / PLANE
    device = next(model.parameters()).device
    prior = model.prior_of()
    if isinstance(prior, StandardNormal):
        steps = torch.special.ndtri(levels).expand(2, -1)
    else:
        drawn, _ = prior.draw(normal((PRIOR_SAMPLES, 2), generator(0, "latent plane"), device))
        steps = torch.quantile(drawn.cpu(), levels, dim=0).T  # (2, PLANE)
    z2, z1 = torch.meshgrid(steps[1].flip(0), steps[0], indexing="ij")
    z = torch.stack([z1, z2], dim=-1).flatten(0, 1).to(device)
    return model.likelihood.mean(model.decode(z))

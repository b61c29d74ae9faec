"""The pictures a run leaves: samples and reconstructions of its epochs, at its end those of the latent space."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from vaelab.dataset.images import Dataset
from vaelab.distributions import StandardNormal
from vaelab.evaluation.pictures.animation import save_animation
from vaelab.evaluation.pictures.figures import save
from vaelab.evaluation.pictures.grids import labelled_grid, side_by_side
from vaelab.evaluation.pictures.latents import (
    draw_interpolations,
    draw_kl_by_dimension,
    draw_posterior_means,
    draw_samples_by_temperature,
    draw_traversals,
)
from vaelab.evaluation.pictures.shown import Shown
from vaelab.files import folder
from vaelab.ops import generator, normal
from vaelab.parts import Model

COLUMNS = 8
SAMPLES = 64
CLASSES = 16  # rows of samples of a conditional model at most
RECONSTRUCTIONS = 24
PLANE = 16  # images along each side of the latent plane
PRIOR_SAMPLES = 65_536  # for quantiles that are known to 0.01 standard deviations

Draw = Callable[[Shown], Any]  # an image or a figure, or None where there is nothing to draw


@torch.no_grad()
def draw_pictures(
    model: Model,
    dataset: Dataset,
    run_dir: Path,
    epoch: int,
    may_stop: Callable[[], None],
    picture_format: str = "png",
    is_last: bool = False,
) -> list[str]:
    """Write the pictures of an epoch, and of the last one those of the whole run too, to the run directory.

    Args:
        model: the model.
        dataset: what the pixels are; its validation images are shown, or without any its training images.
        run_dir: where to write.
        epoch: its number.
        may_stop: called before each picture; may raise.
        picture_format: `pdf` or `svg` to write each picture in this format too.
        is_last: whether the run ends with this epoch.

    Returns:
        The names of the PNGs, and of the animation of the epochs.
    """
    shown = Shown(model, dataset, epoch)
    names = []
    for name, draw in ({**OF_EPOCH, **OF_RUN} if is_last else OF_EPOCH).items():
        may_stop()
        picture = draw(shown)
        if picture is not None:
            content = save(picture, run_dir / f"{name}.png", picture_format)
            names.append(f"{name}.png")
            if name == "samples":
                folder.make(run_dir, "images")
                folder.write(run_dir, f"images/samples-{epoch:04d}.png", content)
    if is_last:
        may_stop()
        names += save_animation(run_dir, epoch)
    return names


def _draw_samples(shown: Shown) -> Image.Image:
    title = f"{shown.title}: samples, the mean of p(x|z) for z ~ p(z)"
    if not shown.model.takes_labels:
        images = shown.model.sample(SAMPLES, generator(0, "samples"))
        return labelled_grid(images, COLUMNS, title)
    classes = min(shown.dataset.num_classes, CLASSES)
    y = torch.arange(classes, device=shown.device).repeat_interleave(COLUMNS)
    images = shown.model.sample(len(y), generator(0, "samples"), y)
    rows = [f"class {label}" for label in range(classes)]
    return labelled_grid(images, COLUMNS, f"{title.replace('p(z)', 'p(z|y)')}, a row for each class y", rows)


def _draw_reconstructions(shown: Shown) -> Image.Image:
    x, y = shown.at(torch.arange(min(RECONSTRUCTIONS, len(shown.split.images))))
    pairs = side_by_side(x, shown.model.reconstruct(x, y), COLUMNS)
    return labelled_grid(pairs, COLUMNS, f"{shown.title}: originals, each row above its reconstructions")


def _draw_latent_plane(shown: Shown) -> Image.Image | None:
    if shown.space != "real" or shown.model.takes_labels or shown.model.latent_dim != 2:
        return None
    title = f"{shown.title}: the mean of p(x|z) at quantiles of p(z1), to the right, and p(z2), upwards"
    return labelled_grid(_plane(shown), PLANE, title)


def _draw_map(shown: Shown) -> Any:
    """Posterior means of two dimensions, which need no projection and change from epoch to epoch."""
    return draw_posterior_means(shown) if shown.model.latent_dim == 2 else None


def _plane(shown: Shown) -> Tensor:
    """The mean of p(x|z), (PLANE², C, H, W), at equally probable steps of each marginal of p(z), the largest z2 first.

    The steps are those of a sample, the same at each call, and exact for a standard normal.
    """
    levels = (torch.arange(PLANE) + 0.5) / PLANE
    model, device = shown.model, shown.device
    prior = model.prior_of()
    if isinstance(prior, StandardNormal):
        steps = torch.special.ndtri(levels).expand(2, -1)
    else:
        drawn, _ = prior.draw(normal((PRIOR_SAMPLES, 2), generator(0, "latent plane"), device))
        steps = torch.quantile(drawn.cpu(), levels, dim=0).T  # (2, PLANE)
    z2, z1 = torch.meshgrid(steps[1].flip(0), steps[0], indexing="ij")
    z = torch.stack([z1, z2], dim=-1).flatten(0, 1).to(device)
    return model.likelihood.mean(model.decode(z))


OF_EPOCH: Mapping[str, Draw] = {
    "samples": _draw_samples,
    "reconstructions": _draw_reconstructions,
    "latent_plane": _draw_latent_plane,
    "posterior_means": _draw_map,
}
OF_RUN: Mapping[str, Draw] = {
    "posterior_means": draw_posterior_means,
    "interpolations": draw_interpolations,
    "traversals": draw_traversals,
    "kl_by_dimension": draw_kl_by_dimension,
    "samples_by_temperature": draw_samples_by_temperature,
}
PICTURES = tuple({**OF_EPOCH, **OF_RUN})

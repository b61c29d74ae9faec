"""The pictures a run leaves: samples, reconstructions, and for two latent dimensions the latent plane."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from vaelab.dataset.images import Dataset
from vaelab.evaluation.figures import save_grid, save_posterior_means, side_by_side
from vaelab.files import folder
from vaelab.ops import binarize, generator, normal, uniform_like, unit_interval
from vaelab.parts import Draw
from vaelab.vae import VAE

SAMPLES = 64
RECONSTRUCTIONS = 24
PLANE = 16  # images along each side of the latent plane
POSTERIOR_MEANS = 5000
PRIOR_SAMPLES = 65_536  # for quantiles that are known to 0.01 standard deviations


@torch.no_grad()
def sample(vae: VAE, count: int, seed: int, pixel_noise: bool = False) -> Tensor:
    """Images (count, C, H, W) in [0, 1] from z ~ p(z): the mean of p(x|z) or, with `pixel_noise`, a draw from it.

    The noise is the same on every device.
    """
    noise = generator(seed, "samples")
    z = vae.prior.sample(normal((count, vae.latent_dim), noise, _device(vae)))
    params = vae.decode(z)
    return vae.likelihood.sample(params, noise).clamp(0, 1) if pixel_noise else vae.likelihood.mean(params)


@torch.no_grad()
def posterior(vae: VAE, x: Tensor, samples: int, seed: int) -> Draw:
    """K = `samples` draws from q(z|x) of images x (B, C, H, W) in [0, 1]; the noise is the same on every device."""
    device = _device(vae)
    return vae.encode(x.to(device), normal((samples, len(x), vae.latent_dim), generator(seed, "posterior"), device))


@torch.no_grad()
def encode(vae: VAE, x: Tensor) -> Tensor:
    """z (B, D) of images x (B, C, H, W) in [0, 1], with zero noise: the mean of a Gaussian posterior."""
    x = x.to(_device(vae))
    return vae.encode(x, x.new_zeros(1, len(x), vae.latent_dim)).z[0]


@torch.no_grad()
def decode(vae: VAE, z: Tensor) -> Tensor:
    """The mean of p(x|z), (N, D) -> (N, C, H, W) in [0, 1]."""
    return vae.likelihood.mean(vae.decode(z.to(_device(vae))))


def draw_pictures(
    vae: VAE, dataset: Dataset, run_dir: Path, epoch: int, between: Callable[[], None]
) -> dict[str, Path]:
    """Write the pictures of an epoch to the run directory and return where they are; `between` may raise."""
    between()
    pictures = {"samples": run_dir / "samples.png", "reconstructions": run_dir / "reconstructions.png"}
    title = f"{dataset.name}, epoch {epoch}"
    samples_title = f"{title}: samples, the mean of p(x|z) for z ~ p(z)"
    samples = save_grid(pictures["samples"], sample(vae, SAMPLES, seed=0), 8, samples_title)
    folder.make(run_dir, "images")
    folder.write(run_dir, f"images/samples-{epoch:04d}.png", samples)

    between()
    split = dataset.val if len(dataset.val.images) else dataset.train
    x = _as_seen(dataset, split.images[:RECONSTRUCTIONS])
    pairs = side_by_side(x, decode(vae, encode(vae, x)).to(x.device), 8)
    save_grid(pictures["reconstructions"], pairs, 8, f"{title}: originals, each row above its reconstructions")

    if vae.latent_dim == 2:
        between()
        pictures["latent_plane"] = run_dir / "latent_plane.png"
        plane_title = f"{title}: the mean of p(x|z) at quantiles of p(z1), to the right, and p(z2), upwards"
        save_grid(pictures["latent_plane"], decode(vae, _plane(vae)), PLANE, plane_title)
        between()
        pictures["posterior_means"] = run_dir / "posterior_means.png"
        chosen = split.images[:POSTERIOR_MEANS]
        means = torch.cat([encode(vae, _as_seen(dataset, batch)) for batch in chosen.split(500)])
        labels = None if split.labels is None else split.labels[:POSTERIOR_MEANS]
        means_title = f"{title}: z at zero noise, the mean of a Gaussian q(z|x)"
        save_posterior_means(pictures["posterior_means"], means, labels, means_title)
    return pictures


def _device(vae: VAE) -> torch.device:
    return next(vae.parameters()).device


def _as_seen(dataset: Dataset, images: Tensor) -> Tensor:
    x = unit_interval(images)
    return binarize(x, uniform_like(x, generator(0, "pictures"))) if dataset.dynamic else x


@torch.no_grad()
def _plane(vae: VAE) -> Tensor:
    """z (PLANE², 2) at equally probable steps of each marginal of p(z), the first row with the largest z2.

    The steps are exact for a standard normal; for any other prior they are those of a sample, the same at each call.
    """
    levels = (torch.arange(PLANE) + 0.5) / PLANE
    if vae.prior.is_standard_normal:
        steps = torch.special.ndtri(levels).expand(2, -1)
    else:
        drawn = vae.prior.sample(normal((PRIOR_SAMPLES, 2), generator(0, "latent plane"), _device(vae)))
        steps = torch.quantile(drawn.cpu(), levels, dim=0).T  # (2, PLANE)
    z2, z1 = torch.meshgrid(steps[1].flip(0), steps[0], indexing="ij")
    return torch.stack([z1, z2], dim=-1).flatten(0, 1)

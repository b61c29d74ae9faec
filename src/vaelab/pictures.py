"""The pictures a run leaves: samples, reconstructions, and for two latent dimensions the latent plane."""

import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from vaelab.figures import save_grid, save_posterior_means, side_by_side
from vaelab.images import Dataset
from vaelab.ops import binarize, generator, uniform_like, unit_interval
from vaelab.vae import VAE

SAMPLES = 64
RECONSTRUCTIONS = 24
PLANE = 16  # images along each side of the latent plane
POSTERIOR_MEANS = 5000


@torch.no_grad()
def sample(vae: VAE, count: int, seed: int, pixel_noise: bool = False) -> Tensor:
    """Images (count, C, H, W) in [0, 1] from z ~ p(z): the mean of p(x|z) or, with `pixel_noise`, a draw from it."""
    device = next(vae.parameters()).device
    noise = generator(seed, "samples", device=device)
    z = vae.prior.sample(torch.randn(count, vae.latent_dim, generator=noise, device=device))
    params = vae.decode(z)
    return vae.likelihood.sample(params, noise).clamp(0, 1) if pixel_noise else vae.likelihood.mean(params)


@torch.no_grad()
def encode(vae: VAE, x: Tensor) -> Tensor:
    """z (B, D) of images x (B, C, H, W) in [0, 1], with zero noise: the mean of a Gaussian posterior."""
    return vae.encode(x, torch.zeros(1, len(x), vae.latent_dim, device=x.device)).z[0]


@torch.no_grad()
def decode(vae: VAE, z: Tensor) -> Tensor:
    """The mean of p(x|z), (N, D) -> (N, C, H, W) in [0, 1]."""
    return vae.likelihood.mean(vae.decode(z))


def draw_pictures(
    vae: VAE, dataset: Dataset, run_dir: Path, epoch: int, between: Callable[[], None]
) -> dict[str, Path]:
    """Write the pictures of an epoch to the run directory and return where they are; `between` may raise."""
    between()
    pictures = {"samples": run_dir / "samples.png", "reconstructions": run_dir / "reconstructions.png"}
    title = f"{dataset.name}, epoch {epoch}"
    save_grid(
        pictures["samples"], sample(vae, SAMPLES, seed=0), 8, f"{title}: samples, the mean of p(x|z) for z ~ p(z)"
    )
    (run_dir / "images").mkdir(exist_ok=True)
    shutil.copyfile(pictures["samples"], run_dir / "images" / f"samples-{epoch:04d}.png")

    between()
    split = dataset.val if len(dataset.val.images) else dataset.train
    device = next(vae.parameters()).device
    x = _as_seen(dataset, split.images[:RECONSTRUCTIONS].to(device))
    pairs = side_by_side(x, decode(vae, encode(vae, x)), 8)
    save_grid(pictures["reconstructions"], pairs, 8, f"{title}: originals, each row above its reconstructions")

    if vae.latent_dim == 2:
        between()
        pictures["latent_plane"] = run_dir / "latent_plane.png"
        z = _plane().to(device)
        save_grid(
            pictures["latent_plane"], decode(vae, z), PLANE, f"{title}: p(x|z) over quantiles of p(z), z1 right, z2 up"
        )
        between()
        pictures["posterior_means"] = run_dir / "posterior_means.png"
        chosen = split.images[:POSTERIOR_MEANS].to(device)
        means = torch.cat([encode(vae, _as_seen(dataset, batch)) for batch in chosen.split(500)])
        labels = split.labels[:POSTERIOR_MEANS]
        save_posterior_means(pictures["posterior_means"], means, labels, f"{title}: posterior means")
    return pictures


def _as_seen(dataset: Dataset, images: Tensor) -> Tensor:
    x = unit_interval(images)
    return binarize(x, uniform_like(x, generator(0, "pictures", device=x.device))) if dataset.dynamic else x


def _plane() -> Tensor:
    """z (PLANE², 2) at equally probable steps of a standard normal, the first row with the largest z2."""
    quantiles = (torch.arange(PLANE) + 0.5) / PLANE
    steps = torch.special.ndtri(quantiles)
    z2, z1 = torch.meshgrid(steps.flip(0), steps, indexing="ij")
    return torch.stack([z1, z2], dim=-1).flatten(0, 1)

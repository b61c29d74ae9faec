"""Images of a finished run: from its prior, warmer or colder, or from a density fitted to its embeddings."""

import inspect
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vaelab.distributions import draw_at
from vaelab.errors import UserError
from vaelab.evaluation.ex_post import ex_post, is_real
from vaelab.evaluation.subject import embedded
from vaelab.ops import generator, normal
from vaelab.run.build import Builder
from vaelab.vae import VAE

if TYPE_CHECKING:
    from vaelab.run.load import Run


def images_of(
    run: "Run", count: int, seed: int, pixel_noise: bool, y: Tensor | None, sampler: str, temperature: float
) -> Tensor:
    """Images (count, C, H, W) as `Run.sample` says; `y` is on the model's device.

    Raises:
        UserError: if the model has no such latents as the sampler or the temperature needs.
    """
    model, noise = run.model, generator(seed, "samples")
    if sampler == "prior" and temperature == 1:
        return model.sample(count, noise, y, pixel_noise)
    asked = f"sampler={sampler}" if sampler != "prior" else f"temperature={temperature:g}"
    if sampler == "prior" and "temperature" in inspect.signature(model.sample).parameters:
        return model.sample(count, noise, y, pixel_noise, temperature=temperature)
    if not isinstance(model, VAE):
        raise UserError(f"{asked} needs a VAE with one group of latents, got {type(model).__name__}; leave it out")
    if sampler != "prior" and temperature != 1:
        raise UserError(f"the temperature is that of the prior, got {asked} with another one; choose one of the two")
    z = (
        _warmed(model, count, noise, y, temperature)
        if sampler == "prior"
        else _fitted(run, count, noise, seed, sampler)
    )
    params = model.decode(z, y)
    return model.likelihood.sample(params, noise).clamp(0, 1) if pixel_noise else model.likelihood.mean(params)


def _warmed(model: VAE, count: int, noise: torch.Generator, y: Tensor | None, temperature: float) -> Tensor:
    """z of the prior with its noise scaled: of a standard normal prior N(0, T² I)."""
    if not is_real(model):
        raise UserError(
            f"a temperature scales the noise of latents that are vectors of real numbers, which codes and points of a "
            f"sphere are not, got temperature={temperature:g}; leave it out"
        )
    eps = normal((count, model.latent_dim), noise, next(model.parameters()).device)
    return draw_at(model.prior_of(y), eps, temperature)


def _fitted(run: "Run", count: int, noise: torch.Generator, seed: int, sampler: str) -> Tensor:
    """z (count, D) of a density fitted to the embeddings of the training images."""
    model, dataset = run.model, run.dataset
    if tuple(dataset.image_shape) != run.facts.image_shape:
        raise UserError(
            f"{dataset.name} must have the images {run.facts.image_shape} of the training, got {dataset.image_shape}"
        )
    batch = Builder(run.config, run.trusted).trainer().eval_batch_size
    draw = ex_post(model, lambda: embedded(model, dataset, dataset.train, batch), sampler, seed)
    return draw(count, noise).to(next(model.parameters()).device)

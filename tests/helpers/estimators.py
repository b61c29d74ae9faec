"""Objectives on the linear Gaussian VAE: its images, and gradients over many draws of the noise."""

import torch

from helpers.combinations import levels, normals
from helpers.ladders import small_ladder
from helpers.linear_gaussian import IMAGE_SHAPE
from vaelab.ops import unit_interval

IMAGES = 3
X = unit_interval(levels(IMAGES, *IMAGE_SHAPE))


def noise_of(objective, vae, seed=0):
    return normals(objective.samples, IMAGES, vae.latent_dim, seed=seed)


def gradient(objective, vae, noise):
    """The loss, and its gradient by the name of the parameter."""
    vae.zero_grad()
    loss = objective(vae, X, noise)[0]
    loss.backward()
    return loss.detach(), {name: parameter.grad.clone() for name, parameter in vae.named_parameters()}


def gradients(objective, vae, draws):
    """Of the posterior's heads and of the decoder, (draws, parameters) each."""
    found = [gradient(objective, vae, noise_of(objective, vae, draw))[1] for draw in range(draws)]
    return tuple(
        torch.stack([each[name].flatten() for each in found]) for name in ("posterior.heads.weight", "decoder.0.weight")
    )


def ladder_and_noise(samples=1):
    """A model of two groups of latents with noise for four images of 8 x 8 pixels."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        ladder = small_ladder()
    return ladder, ladder.noise(samples, 4, torch.Generator().manual_seed(0))

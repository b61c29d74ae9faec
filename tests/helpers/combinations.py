"""VAEs of any combination of network and likelihood, with images and numbers that are the same at every call."""

from functools import partial

import torch

from vaelab.likelihood.bernoulli import BernoulliLikelihood
from vaelab.likelihood.gaussian import GaussianLikelihood
from vaelab.likelihood.logistic import LogisticLikelihood
from vaelab.model import conv, mlp
from vaelab.posterior.gaussian import GaussianPosterior
from vaelab.prior.normal import NormalPrior
from vaelab.vae import VAE

IMAGE_SHAPES = [(1, 28, 28), (3, 32, 32), (1, 8, 8), (2, 9, 13), (3, 17, 33)]
LATENT_DIM = 5
NETWORKS = {
    "mlp": partial(mlp.networks, hidden=[24, 16], activation="silu"),
    "conv": partial(conv.networks, channels=[16, 32], features=16, activation="silu", linear=True),
}
LIKELIHOODS = {
    "bernoulli": partial(BernoulliLikelihood, IMAGE_SHAPES[0], False),
    "gaussian": partial(GaussianLikelihood, "learned"),
    "logistic": LogisticLikelihood,
}


def vae_of(network="mlp", likelihood="bernoulli", image_shape=(1, 8, 8), bfloat16=False):
    """A VAE of that kind; its weights are the same at every call."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        p_x = LIKELIHOODS[likelihood]()
        encoder, decoder = NETWORKS[network](image_shape, LATENT_DIM, p_x.out_channels(image_shape[0]))
        q_z = GaussianPosterior(encoder.out_features, LATENT_DIM)
        return VAE(encoder, decoder, q_z, NormalPrior(), p_x, LATENT_DIM, bfloat16)


def normals(*shape, seed=0):
    """Standard normal numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def levels(*shape, seed=0):
    """uint8 images with every level equally likely."""
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)

"""A VAE whose log p(x), posterior and ELBO are known: x = W z + b + sigma * noise with orthogonal columns of W."""

import torch
from torch import nn
from torch.distributions import MultivariateNormal

from helpers.combinations import normals
from vaelab.likelihood.gaussian import GaussianLikelihood
from vaelab.posterior.gaussian import GaussianPosterior
from vaelab.prior.normal import NormalPrior
from vaelab.vae import VAE

IMAGE_SHAPE = (1, 2, 3)
PIXELS = 6
LATENT_DIM = 2
SIGMA = 0.3


@torch.no_grad()
def linear_gaussian_vae(mean_shift=0.0, variance_factor=1.0):
    """The VAE; its posterior is exact, up to a shift of the mean and a factor of the variance.

    Orthogonal columns make the exact posterior N(V W^T (x - b) / sigma^2, V) with V = (I + W^T W / sigma^2)^-1
    diagonal, so that the Gaussian posterior with linear heads can be it.
    """
    weight = torch.linalg.qr(normals(PIXELS, LATENT_DIM)).Q * torch.tensor([0.5, 1.0])
    bias = torch.linspace(0.2, 0.8, PIXELS)
    variance = 1 / (1 + weight.square().sum(0) / SIGMA**2)

    decoder = nn.Linear(LATENT_DIM, PIXELS)
    decoder.weight.copy_(weight)
    decoder.bias.copy_(bias)

    posterior = GaussianPosterior(PIXELS, LATENT_DIM)
    to_mean = variance[:, None] * weight.T / SIGMA**2
    posterior.heads.weight.copy_(torch.cat([to_mean, torch.zeros_like(to_mean)]))
    posterior.heads.bias.copy_(torch.cat([mean_shift - to_mean @ bias, (variance_factor * variance).log()]))

    image = nn.Unflatten(1, IMAGE_SHAPE)
    likelihood = GaussianLikelihood(SIGMA)
    return VAE(nn.Flatten(), nn.Sequential(decoder, image), posterior, NormalPrior(), likelihood, LATENT_DIM)


@torch.no_grad()
def log_marginal(vae, x):
    """log N(x; b, W W^T + sigma^2 I) of each image, (B,)."""
    weight, bias = vae.decoder[0].weight.double(), vae.decoder[0].bias.double()
    covariance = weight @ weight.T + SIGMA**2 * torch.eye(PIXELS, dtype=torch.float64)
    return MultivariateNormal(bias, covariance).log_prob(x.flatten(1).double()).float()


def sigma_points(batch):
    """Noise (2D, B, D) with mean 0 and covariance I exactly: means over it are exact for quadratic functions."""
    axes = LATENT_DIM**0.5 * torch.eye(LATENT_DIM)
    return torch.cat([axes, -axes])[:, None].expand(-1, batch, -1)


@torch.no_grad()
def correlated_vae():
    """The same VAE but for columns of W that are not orthogonal, and with it its exact posterior, which correlates z.

    Returns:
        The VAE, whose own posterior is not exact; the matrix (D, P) that takes x - b to the mean; the covariance.
    """
    vae = linear_gaussian_vae()
    weight = torch.tensor([[0.5, 0.4], [-0.2, 0.3], [0.1, 0.6], [0.7, 0.5], [0.0, -0.3], [0.4, 0.1]])
    vae.decoder[0].weight.copy_(weight)
    covariance = torch.linalg.inv(torch.eye(LATENT_DIM) + weight.T @ weight / SIGMA**2)
    return vae, covariance @ weight.T / SIGMA**2, covariance

"""Densities fitted to the embeddings of training images, to sample from instead of the prior.

Where the prior and the aggregate posterior differ, samples of the one are unlike what the decoder was trained on (Ghosh
et al., 2020, arXiv:1903.12436).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from vaelab.errors import UserError
from vaelab.ops import generator
from vaelab.parts import Model
from vaelab.vae import VAE

COMPONENTS = 10
FLOW_STEPS = 600
FLOW_BATCH = 256
FLOW_RATE = 2e-3

Sampler = Callable[[int, torch.Generator], Tensor]  # of z (count, D) on the CPU, by a generator on the CPU


def gaussian_mixture(z: Tensor, seed: int) -> Sampler:
    """A mixture of 10 normal densities with full covariances, fitted to z (N, D) by scikit-learn."""
    from sklearn.mixture import GaussianMixture  # takes a second to import

    count = min(COMPONENTS, len(z))
    fitted = GaussianMixture(count, reg_covar=1e-5, random_state=seed % 2**32).fit(z.double().numpy())
    weights, means = torch.from_numpy(fitted.weights_), torch.from_numpy(fitted.means_)
    roots = torch.linalg.cholesky(torch.from_numpy(fitted.covariances_))

    def draw(count: int, noise: torch.Generator) -> Tensor:
        which = torch.multinomial(weights, count, replacement=True, generator=noise)
        eps = torch.randn(count, z.shape[1], dtype=torch.float64, generator=noise)
        return (means[which] + (roots[which] @ eps.unsqueeze(-1)).squeeze(-1)).float()

    return draw


def flow(z: Tensor, seed: int) -> Sampler:
    """A neural spline flow (Durkan et al., 2019, arXiv:1906.04032) fitted to z (N, D) by maximum likelihood.

    600 steps of 256 embeddings with Adam, after each dimension was scaled to mean 0 and variance 1.
    """
    mean, scale = z.mean(0), z.std(0).clamp(min=1e-6)
    with torch.enable_grad(), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed % 2**63)  # as `torch.manual_seed`, which would seed GPUs too
        density = _spline_flow(z.shape[1])
        optimizer = torch.optim.Adam(density.parameters(), FLOW_RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, FLOW_STEPS)
        for step in range(FLOW_STEPS):
            chosen = torch.randint(len(z), (FLOW_BATCH,), generator=generator(seed, "ex-post flow", step))
            loss = -density().log_prob((z[chosen] - mean) / scale).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()

    @torch.no_grad()
    def draw(count: int, noise: torch.Generator) -> Tensor:
        eps = torch.randn(count, z.shape[1], generator=noise)
        return mean + scale * density().transform.inv(eps)

    return draw


def _spline_flow(dims: int) -> Any:
    from zuko.flows import NSF  # takes a second to import

    return NSF(dims, transforms=3, bins=8, hidden_features=(64, 64))


EX_POST: dict[str, Callable[[Tensor, int], Sampler]] = {"gmm": gaussian_mixture, "flow": flow}
SAMPLERS = ("prior", *EX_POST)


def ex_post(model: Model, embedded: Callable[[], Tensor], sampler: str, seed: int) -> Sampler:
    """The density of that name, fitted to what `embedded` gives, z (N, D) of the training images.

    Raises:
        UserError: if the model's latents are no vectors of real numbers, or it takes labels.
    """
    if not isinstance(model, VAE) or model.takes_labels or not is_real(model):
        raise UserError(
            f"sampler={sampler} fits a density to latents that are vectors of real numbers, without labels, which this "
            f"model has not; use sampler=prior"
        )
    return EX_POST[sampler](embedded(), seed)


def is_real(model: VAE) -> bool:
    """Whether its latents are vectors of real numbers, not codes or points of a sphere."""
    return not hasattr(model.posterior, "prior") and getattr(model.posterior, "space", "real") == "real"

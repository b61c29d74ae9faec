"""Posteriors that contain the exact one of a linear Gaussian VAE: at it every sample's log weight is log p(x)."""

import math

import pytest
import torch

from helpers.combinations import levels, normals
from helpers.linear_gaussian import (
    IMAGE_SHAPE,
    LATENT_DIM,
    PIXELS,
    correlated_vae,
    linear_gaussian_vae,
    log_marginal,
    sigma_points,
)
from vaelab.objective.elbo import ELBO
from vaelab.ops import unit_interval
from vaelab.posterior.flow import FlowPosterior
from vaelab.posterior.flow_steps import LEAST_SLOPE
from vaelab.posterior.full_gaussian import FullGaussianPosterior

IMAGES, DRAWS = 5, 40
X = unit_interval(levels(IMAGES, *IMAGE_SHAPE))


def full_gaussian(to_mean, bias, covariance):
    """N(to_mean x + bias, covariance)."""
    posterior, cholesky = FullGaussianPosterior(PIXELS, LATENT_DIM), torch.linalg.cholesky(covariance)
    posterior.heads.weight[:LATENT_DIM] = to_mean
    posterior.heads.weight[LATENT_DIM:] = 0
    posterior.heads.bias.copy_(torch.cat([bias, cholesky.diagonal().log(), cholesky[1:, 0]]))
    return posterior


def set_base(posterior, to_mean, bias, variance):
    posterior.heads.weight.copy_(torch.cat([to_mean, torch.zeros_like(to_mean)]))
    posterior.heads.bias.copy_(torch.cat([bias, variance.log()]))


def sylvester(to_mean, bias, covariance):
    """One step k z + (c z_1, 0) + shift, by a tanh that is linear as far as z goes, of a normal without covariance."""
    posterior = FlowPosterior(PIXELS, LATENT_DIM, "sylvester", transforms=1, hidden=[8], context=1)
    small, most = 1e-3, 1 - LEAST_SLOPE  # S is `small` times the identity, and R has the diagonal 0.5
    k = 1 + 0.5 * small
    c = k * covariance[0, 1] / covariance[1, 1]
    r, b = torch.tensor([[0.5, c / small], [0.0, 0.5]]), torch.tensor([small, -small])
    back = (torch.eye(LATENT_DIM) + r * small).inverse()
    set_base(posterior, back @ to_mean, back @ (bias - r @ b), (back @ covariance @ back.T).diagonal())
    of_r, of_s = math.atanh(0.5 / most), math.atanh(small / most)
    posterior.steps.head.weight.zero_()
    posterior.steps.head.bias.copy_(torch.tensor([of_r, c / small, 0, of_r, of_s, of_s, *b]))
    return posterior


def iaf(to_mean, bias, covariance):
    """Two steps, z_1 + a z_0 and then z_0 + b z_1, each scaled and moved besides, of a normal without covariance."""
    posterior = FlowPosterior(PIXELS, LATENT_DIM, "iaf", transforms=2, hidden=[16], context=1)
    posterior.steps.context.weight.zero_()
    b, log_scale, shift = 0.4, torch.tensor([0.5, -0.3]), torch.tensor([0.2, -0.1])
    scales = log_scale.exp()
    second = torch.diag(scales) + torch.tensor([[0.0, b], [0.0, 0.0]])
    between = second.inverse() @ covariance @ second.inverse().T
    a = between[1, 0] / between[0, 0] * scales[0]
    first = torch.diag(scales) + torch.tensor([[0.0, 0.0], [a, 0.0]])
    back = (second @ first).inverse()
    moved = second @ shift + shift
    set_base(posterior, back @ to_mean, back @ (bias - moved), (back @ covariance @ back.T).diagonal())
    for network, source, factor in zip(posterior.steps.networks, (0, 1), (a, b), strict=True):
        set_affine(network.transform.hyper, source, factor, log_scale, shift)
    return posterior


def set_affine(hyper, source, factor, log_scale, shift):
    """Make a masked network give the other dimension's shift as factor z_source, by ReLUs of z_source and -z_source."""
    first, _, last = hyper
    seeing = first.mask[:, source].nonzero().flatten()[:2]
    for parameter in hyper.parameters():
        parameter.zero_()
    signs = torch.tensor([1.0, -1.0])
    first.weight[seeing, source] = signs
    last.weight[2 * (1 - source), seeing] = factor * signs
    raw = log_scale / (1 - log_scale.abs() / math.log(1000))  # of which zuko's soft bound makes log_scale
    last.bias.copy_(torch.stack([shift, raw], 1).flatten())


@torch.no_grad()
@pytest.mark.parametrize("make", [full_gaussian, sylvester, iaf])
def test_with_the_exact_correlated_posterior_every_bound_is_log_p(make):
    vae, to_mean, covariance = correlated_vae()
    assert abs(covariance[0, 1]) > 0.5 * covariance.diagonal().prod().sqrt()
    vae.posterior = make(to_mean, -to_mean @ vae.decoder[0].bias, covariance)
    assert_exact(vae)


@torch.no_grad()
def test_with_the_exact_diagonal_posterior_every_bound_is_log_p():
    assert_exact(linear_gaussian_vae())


def assert_exact(vae):
    """The ELBO of each image, and the weight of each sample by its own density and by that of any z, is log p(x)."""
    exact = log_marginal(vae, X)
    for noise in (normals(DRAWS, IMAGES, LATENT_DIM), sigma_points(IMAGES)):
        trace = vae(X, noise)
        (latent,) = trace.latents
        torch.testing.assert_close(trace.log_w, exact.expand_as(trace.log_w), rtol=1e-5, atol=2e-4)
        torch.testing.assert_close(latent.q.log_prob(latent.z), latent.log_q, rtol=1e-5, atol=2e-4)
    torch.testing.assert_close(trace.log_px.mean(0) - trace.kl, exact, rtol=1e-5, atol=2e-5)
    loss = ELBO(beta=1.0, warmup_steps=0, samples=1, cycles=1, free_bits=0.0)(vae, X, noise)[0]
    torch.testing.assert_close(-loss, exact.mean(), rtol=1e-5, atol=2e-5)

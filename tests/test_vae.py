"""The parts composed: shapes, gradients, precision, and the trace of a linear Gaussian VAE."""

import pytest
import torch
from torch import nn

from helpers.combinations import IMAGE_SHAPES, LATENT_DIM, LIKELIHOODS, NETWORKS, levels, normals, vae_of
from helpers.linear_gaussian import IMAGE_SHAPE, linear_gaussian_vae, log_marginal, sigma_points
from vaelab.objective.elbo import ELBO
from vaelab.ops import unit_interval
from vaelab.vae import Trace

networks = pytest.mark.parametrize("network", NETWORKS)
likelihoods = pytest.mark.parametrize("likelihood", LIKELIHOODS)


class WidePrior(nn.Module):
    """p(z) = N(0, 4 I), which no closed form is known for."""

    is_standard_normal = False

    def log_prob(self, z):
        return torch.distributions.Normal(0.0, 2.0).log_prob(z).sum(-1)


class DrawWithoutClosedForm:
    """Samples with a density and nothing more."""

    z, log_qz, kl_to_standard_normal = normals(50, 3, 2), normals(50, 3, seed=1), None


def pixels_for(likelihood, *shape):
    grey = unit_interval(levels(*shape))
    return grey.round() if likelihood == "bernoulli" else grey


@pytest.mark.parametrize("image_shape", IMAGE_SHAPES, ids=str)
@networks
@likelihoods
def test_every_parameter_gets_a_gradient(network, likelihood, image_shape):
    vae = vae_of(network, likelihood, image_shape)
    loss, _ = ELBO(beta=1.0, warmup_steps=0, samples=1)(vae(pixels_for(likelihood, 4, *image_shape), normals(1, 4, 5)))
    loss.backward()
    gradients = {name: 0 if p.grad is None else p.grad.abs().max().item() for name, p in vae.named_parameters()}
    assert min(gradients.values()) > 1e-5, gradients


@networks
@likelihoods
def test_the_shapes_of_a_trace(network, likelihood):
    trace = vae_of(network, likelihood)(pixels_for(likelihood, 4, 1, 8, 8), normals(3, 4, LATENT_DIM))
    assert trace.draw.z.shape == (3, 4, LATENT_DIM)
    assert trace.log_px.shape == trace.log_pz.shape == trace.log_qz.shape == (3, 4)
    assert trace.kl.shape == (4,)


@networks
@likelihoods
def test_an_image_and_its_samples_do_not_depend_on_the_rest_of_the_batch(network, likelihood):
    vae, x, eps = vae_of(network, likelihood), pixels_for(likelihood, 4, 1, 8, 8), normals(3, 4, LATENT_DIM)
    whole, alone = vae(x, eps), vae(x[2:3], eps[1:2, 2:3])
    torch.testing.assert_close(alone.log_px, whole.log_px[1:2, 2:3], rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(alone.kl, whole.kl[2:3], rtol=1e-4, atol=1e-4)


@networks
@likelihoods
def test_a_forward_pass_is_a_function_of_parameters_images_and_noise(network, likelihood):
    vae, x, eps = vae_of(network, likelihood), pixels_for(likelihood, 2, 1, 8, 8), normals(1, 2, LATENT_DIM)
    torch.manual_seed(1)
    first = vae(x, eps)
    torch.manual_seed(2)
    assert torch.equal(vae(x, eps).log_px, first.log_px)


@networks
@likelihoods
def test_bfloat16_changes_little_and_densities_stay_float32(network, likelihood):
    x, eps = pixels_for(likelihood, 4, 1, 8, 8), normals(2, 4, LATENT_DIM)
    half = vae_of(network, likelihood, bfloat16=True)
    exact, coarse = vae_of(network, likelihood)(x, eps), half(x, eps)
    for name in ("log_px", "log_pz", "log_qz", "kl"):
        assert getattr(coarse, name).dtype == torch.float32
    assert half.decode(eps[0]).dtype == torch.float32
    assert not torch.equal(coarse.log_px, exact.log_px)
    torch.testing.assert_close(coarse.log_px, exact.log_px, rtol=0.01, atol=0)
    torch.testing.assert_close(coarse.kl, exact.kl, rtol=0.03, atol=0.01)


def test_with_the_exact_posterior_every_sample_has_the_weight_of_the_marginal():
    vae, x = linear_gaussian_vae(), unit_interval(levels(5, *IMAGE_SHAPE))
    trace = vae(x, normals(7, 5, 2))
    weights = trace.log_px + trace.log_pz - trace.log_qz
    torch.testing.assert_close(weights, log_marginal(vae, x).expand(7, -1), rtol=1e-4, atol=1e-3)


def test_the_kl_is_the_closed_form_where_there_is_one():
    vae = linear_gaussian_vae(mean_shift=0.3)
    trace = vae(unit_interval(levels(5, *IMAGE_SHAPE)), normals(1, 5, 2))
    torch.testing.assert_close(trace.kl, trace.draw.kl_to_standard_normal.sum(-1))


def test_the_kl_to_another_prior_is_estimated_from_the_samples():
    vae = linear_gaussian_vae(mean_shift=0.3)
    vae.prior = WidePrior()
    trace = vae(unit_interval(levels(5, *IMAGE_SHAPE)), sigma_points(5))
    q_z = torch.distributions.Normal(trace.draw.mean, (0.5 * trace.draw.log_var).exp())
    exact = torch.distributions.kl_divergence(q_z, torch.distributions.Normal(0.0, 2.0)).sum(-1)
    torch.testing.assert_close(trace.kl, exact, rtol=1e-4, atol=1e-4)


def test_the_kl_of_a_posterior_without_closed_form_is_estimated_from_the_samples():
    draw = DrawWithoutClosedForm()
    trace = Trace(log_px=normals(50, 3, seed=2), draw=draw, prior=vae_of().prior)
    log_pz = torch.distributions.Normal(0.0, 1.0).log_prob(draw.z).sum(-1)
    torch.testing.assert_close(trace.kl, (draw.log_qz - log_pz).mean(0))


def test_encode_and_decode_are_the_halves_of_a_forward_pass():
    vae, x, eps = vae_of(), pixels_for("bernoulli", 4, 1, 8, 8), normals(1, 4, LATENT_DIM)
    params = vae.decode(vae.encode(x, eps).z[0])
    torch.testing.assert_close(vae.likelihood.log_prob(params[None], x), vae(x, eps).log_px)

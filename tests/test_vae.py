"""The parts composed: shapes, gradients, precision, and the trace of a linear Gaussian VAE."""

import math

import pytest
import torch
from torch import nn

from helpers.combinations import IMAGE_SHAPES, LATENT_DIM, LIKELIHOODS, NETWORKS, levels, normals, vae_of
from helpers.fakes import labelled_vae
from helpers.linear_gaussian import IMAGE_SHAPE, linear_gaussian_vae, log_marginal, sigma_points
from vaelab.distributions import Normal
from vaelab.objective.elbo import ELBO
from vaelab.ops import generator, unit_interval

networks = pytest.mark.parametrize("network", NETWORKS)
likelihoods = pytest.mark.parametrize("likelihood", LIKELIHOODS)


def pixels_for(likelihood, *shape):
    grey = unit_interval(levels(*shape))
    return grey.round() if likelihood == "bernoulli" else grey


@pytest.mark.parametrize("image_shape", IMAGE_SHAPES, ids=str)
@networks
@likelihoods
def test_every_parameter_gets_a_gradient(network, likelihood, image_shape):
    vae = vae_of(network, likelihood, image_shape)
    loss, _, _ = ELBO(1.0, 0, samples=1)(vae, pixels_for(likelihood, 4, *image_shape), normals(1, 4, 5))
    loss.backward()
    gradients = {name: 0 if p.grad is None else p.grad.abs().max().item() for name, p in vae.named_parameters()}
    assert min(gradients.values()) > 1e-5, gradients


@networks
@likelihoods
def test_the_shapes_of_a_trace(network, likelihood):
    trace = vae_of(network, likelihood)(pixels_for(likelihood, 4, 1, 8, 8), normals(3, 4, LATENT_DIM))
    (latent,) = trace.latents
    assert latent.z.shape == (3, 4, LATENT_DIM)
    assert latent.kl.shape == (4, LATENT_DIM)
    assert trace.log_px.shape == trace.log_w.shape == latent.log_p.shape == latent.log_q.shape == (3, 4)
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
    (latent,) = coarse.latents
    assert {value.dtype for value in (coarse.log_px, latent.log_q, latent.log_p, coarse.kl)} == {torch.float32}
    assert half.decode(eps[0]).dtype == torch.float32
    assert not torch.equal(coarse.log_px, exact.log_px)
    torch.testing.assert_close(coarse.log_px, exact.log_px, rtol=0.01, atol=0)
    torch.testing.assert_close(coarse.kl, exact.kl, rtol=0.03, atol=0.01)


def test_with_the_exact_posterior_every_sample_has_the_weight_of_the_marginal():
    vae, x = linear_gaussian_vae(), unit_interval(levels(5, *IMAGE_SHAPE))
    log_w = vae(x, normals(7, 5, 2)).log_w
    torch.testing.assert_close(log_w, log_marginal(vae, x).expand(7, -1), rtol=1e-4, atol=1e-3)


class WidePrior(nn.Module):
    """p(z) = N(0, 4 I) as torch's own distribution, which no closed form is known for."""

    def forward(self, infer):
        return self

    def log_prob(self, z):
        return torch.distributions.Normal(0.0, 2.0).log_prob(z).sum(-1)


def test_the_kl_to_another_prior_is_estimated_from_the_samples():
    vae = linear_gaussian_vae(mean_shift=0.3)
    vae.prior = WidePrior()
    x = unit_interval(levels(5, *IMAGE_SHAPE))
    q = vae.infer(x)
    exact = q.kl(Normal(torch.zeros(2), torch.full((2,), math.log(4)))).sum(-1)
    torch.testing.assert_close(vae(x, sigma_points(5)).kl, exact, rtol=1e-4, atol=1e-4)


class PosteriorOfPseudoInputs(nn.Module):
    """p(z) = q(z|u) of one learned image u, the simplest prior that needs the encoder."""

    def __init__(self):
        super().__init__()
        self.image = nn.Parameter(torch.full((1, 1, 8, 8), 0.5))

    def forward(self, infer):
        return infer(self.image.clamp(0, 1))


def test_a_prior_made_of_posteriors_gets_the_models_own():
    vae = vae_of()
    vae.prior = PosteriorOfPseudoInputs()
    x = vae.prior.image.detach()
    trace = vae(x, normals(3, 1, LATENT_DIM))
    assert (trace.kl == 0).all()
    trace = vae(pixels_for("bernoulli", 4, 1, 8, 8), normals(3, 4, LATENT_DIM))
    trace.kl.sum().backward()
    assert trace.kl.min() > 0
    assert vae.prior.image.grad.abs().max() > 0
    assert not any(name.startswith("prior.") and "image" not in name for name in vae.state_dict())


def test_infer_and_decode_are_the_halves_of_a_forward_pass():
    vae, x, eps = vae_of(), pixels_for("bernoulli", 4, 1, 8, 8), normals(1, 4, LATENT_DIM)
    z, _ = vae.infer(x).draw(eps)
    torch.testing.assert_close(vae.likelihood.log_prob(vae.decode(z[0])[None], x), vae(x, eps).log_px)


# What is made with a trained model


@likelihoods
def test_an_image_is_embedded_at_the_mean_of_its_posterior_and_reconstructed_from_there(likelihood):
    vae, x = vae_of("mlp", likelihood), pixels_for(likelihood, 6, 1, 8, 8)
    z = vae.embed(x)
    torch.testing.assert_close(z, vae.infer(x).mean)
    torch.testing.assert_close(vae.reconstruct(x), vae.likelihood.mean(vae.decode(z)))


def test_noise_is_standard_normal_for_each_sample_and_image_and_a_function_of_the_generator():
    noise = vae_of().noise(3, 2000, generator(0, "test"))
    assert noise.shape == (3, 2000, LATENT_DIM)
    assert noise.mean().abs() < 5 / noise.numel() ** 0.5
    assert noise.std().item() == pytest.approx(1, abs=0.02)
    assert torch.equal(noise, vae_of().noise(3, 2000, generator(0, "test")))


@pytest.mark.parametrize("pixel_noise", [False, True])
def test_samples_are_a_function_of_the_generator_alone(pixel_noise):
    def sample(seed):
        return vae_of().sample(5, generator(seed, "test"), pixel_noise=pixel_noise)

    torch.manual_seed(1)
    first = sample(3)
    torch.manual_seed(2)
    assert torch.equal(sample(3), first)
    assert not torch.equal(sample(4), first)


def test_samples_are_means_and_with_pixel_noise_draws():
    means, draws = (vae_of().sample(50, generator(0, "test"), pixel_noise=noise) for noise in (False, True))
    assert means.shape == draws.shape == (50, 1, 8, 8)
    assert draws.unique().tolist() == [0, 1]
    assert ((means > 0) & (means < 1)).all()
    assert draws.mean().item() == pytest.approx(means.mean().item(), abs=0.05)


def test_samples_of_z_are_the_priors():
    vae, seen = vae_of(), []
    vae.prior = PosteriorOfPseudoInputs()
    vae.decoder.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
    vae.sample(4000, generator(0, "test"))
    torch.testing.assert_close(seen[0].mean(0), vae.embed(vae.prior.image)[0], rtol=0, atol=0.1)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "logistic"])
def test_noise_from_the_cpu_goes_where_the_model_is(likelihood):
    vae, x = vae_of(likelihood=likelihood).to("meta"), torch.zeros(2, 1, 8, 8, device="meta")
    found = [vae.sample(2, generator(0, "test"), pixel_noise=noise) for noise in (False, True)]
    found += [vae.noise(1, 2, generator(0, "test")), vae.embed(x), vae.reconstruct(x)]
    assert all(value.device.type == "meta" for value in found)


# Labels


def test_labels_go_to_encoder_prior_and_decoder_with_their_images():
    vae = labelled_vae()
    x, y, noise = pixels_for("bernoulli", 4, 1, 8, 8), torch.tensor([3, 0, 2, 1]), normals(3, 4, 2)
    trace = vae(x, noise, y)
    assert vae.takes_labels
    assert torch.equal(trace.latents[0].q.mean[:, 1], y.float())
    assert torch.equal(trace.latents[0].p.mean[:, 0], y.float())
    logits = y.float().view(1, 4, 1, 1, 1).expand(3, -1, 1, 8, 8)
    torch.testing.assert_close(trace.log_px, vae.likelihood.log_prob(logits, x))
    assert torch.equal(vae.embed(x, y)[:, 1], y.float())
    expected = y.sigmoid()[:, None, None, None].expand(-1, 1, 8, 8)
    torch.testing.assert_close(vae.reconstruct(x, y), expected)
    torch.testing.assert_close(vae.sample(4, generator(0, "test"), y), expected)


def test_a_model_takes_labels_only_where_its_encoder_does():
    assert not vae_of().takes_labels

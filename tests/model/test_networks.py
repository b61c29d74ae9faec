"""Every pair of networks in `conf/model/` with the numbers of its YAML, whatever they are made of."""

import pytest
import torch

from conftest import ROOT
from helpers.combinations import IMAGE_SHAPES, levels, normals
from vaelab.likelihood.gaussian import GaussianLikelihood
from vaelab.objective.elbo import ELBO
from vaelab.ops import unit_interval
from vaelab.posterior.gaussian import GaussianPosterior
from vaelab.prior.normal import NormalPrior
from vaelab.run.node import NodeBuilder
from vaelab.vae import VAE

LATENT_DIM = 5


def networks_of(option, image_shape=(1, 9, 13), out_channels=2):
    from omegaconf import OmegaConf

    torch.manual_seed(0)
    node = OmegaConf.to_container(OmegaConf.load(ROOT / "conf" / "model" / f"{option}.yaml"))
    given = {"image_shape": image_shape, "latent_dim": LATENT_DIM, "out_channels": out_channels}
    given |= {"likelihood": GaussianLikelihood(sigma="learned"), "bfloat16": False, "classes": 0}
    return NodeBuilder({"model": node}, None).build("model", **given)


OPTIONS = sorted(path.stem for path in (ROOT / "conf" / "model").glob("*.yaml"))
PAIRS = [option for option in OPTIONS if isinstance(networks_of(option), tuple)]


def test_pairs_of_networks_are_found():
    assert {"conv", "gated_mlp", "mlp", "resnet"} <= set(PAIRS)


@pytest.mark.parametrize("image_shape", IMAGE_SHAPES, ids=str)
@pytest.mark.parametrize("option", PAIRS)
def test_they_fit_any_image(option, image_shape):
    encoder, decoder = networks_of(option, image_shape, out_channels=7)
    assert encoder(torch.rand(2, *image_shape)).shape == (2, encoder.out_features)
    assert decoder(torch.randn(3, LATENT_DIM)).shape == (3, 7, *image_shape[1:])


@pytest.mark.parametrize("option", PAIRS)
def test_every_parameter_gets_a_gradient_after_two_steps(option):
    encoder, decoder = networks_of(option, out_channels=1)
    posterior = GaussianPosterior(encoder.out_features, LATENT_DIM)
    vae = VAE(encoder, decoder, posterior, NormalPrior(), GaussianLikelihood("learned"), LATENT_DIM)
    optimizer = torch.optim.Adam(vae.parameters(), lr=1e-3)
    x = unit_interval(levels(4, 1, 9, 13))
    for step in range(3):
        optimizer.zero_grad()
        ELBO(beta=1.0, warmup_steps=0, samples=1)(vae, x, normals(1, 4, LATENT_DIM, seed=step))[0].backward()
        optimizer.step()
    without = [name for name, parameter in vae.named_parameters() if not parameter.grad.any()]
    assert not without


@pytest.mark.parametrize("option", PAIRS)
def test_what_an_image_or_a_latent_gives_depends_on_it_and_not_on_its_batch(option):
    networks, inputs = networks_of(option), (unit_interval(levels(6, 1, 9, 13)), normals(6, LATENT_DIM))
    for network, given in zip(networks, inputs, strict=True):
        found = network(given)
        assert found.std(0).max() > 1e-3
        torch.testing.assert_close(network(torch.cat([given[:3], 9 * given[3:]]))[:3], found[:3], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(network(given[3:4]), found[3:4], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("option", PAIRS)
def test_they_draw_no_random_numbers(option):
    encoder, decoder = networks_of(option)
    state = torch.get_rng_state()
    for _ in range(2):
        encoder(torch.full((2, 1, 9, 13), 0.5))
        decoder(torch.ones(2, LATENT_DIM))
    assert torch.equal(torch.get_rng_state(), state)

"""Convolutional networks: shapes for even and odd sizes, independence of the batch, refusals."""

import pytest
import torch

from helpers.combinations import IMAGE_SHAPES, levels, normals
from vaelab.dataset.cifar10 import load
from vaelab.likelihood.logistic import LogisticLikelihood
from vaelab.model import conv
from vaelab.objective.elbo import ELBO
from vaelab.ops import unit_interval
from vaelab.posterior.gaussian import GaussianPosterior
from vaelab.prior.normal import NormalPrior
from vaelab.vae import VAE

SMALL = {
    "latent_dim": 3,
    "out_channels": 2,
    "channels": [16, 32],
    "features": 12,
    "activation": "silu",
    "linear": False,
}


@pytest.mark.parametrize("channels", [[16], [16, 32], [16, 32, 64]], ids=str)
@pytest.mark.parametrize(("out_channels", "linear"), [(4, False), (4, True), (7, False), (7, True)])
@pytest.mark.parametrize("image_shape", [*IMAGE_SHAPES, (1, 8, 15), (4, 31, 10)], ids=str)
def test_encoder_and_decoder_fit_any_image(image_shape, out_channels, linear, channels):
    setting = {**SMALL, "out_channels": out_channels, "channels": channels, "linear": linear}
    encoder, decoder = conv.networks(image_shape, **setting)
    _, height, width = image_shape
    assert encoder(torch.rand(2, *image_shape)).shape == (2, encoder.out_features)
    assert decoder(torch.randn(3, 3)).shape == (3, out_channels, height, width)


@pytest.mark.parametrize(
    "channels",
    [[32, 64, 128], [24, 20], [7, 30], [8, 8, 8]],
    ids=str,
)
def test_features_depend_on_the_image_and_parameters_on_the_latent(channels):
    torch.manual_seed(0)
    encoder, decoder = conv.networks((1, 8, 8), **{**SMALL, "channels": channels})
    assert encoder(unit_interval(levels(20, 1, 8, 8))).std(0).max() > 0.01
    assert decoder(normals(20, 3)).std(0).mean() > 0.02


def test_the_features_of_an_image_do_not_depend_on_its_batch():
    encoder, _ = conv.networks((2, 9, 13), **SMALL)
    x = unit_interval(levels(6, 2, 9, 13))
    torch.testing.assert_close(encoder(x[3:4]), encoder(x)[3:4], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(encoder(torch.cat([x[:3], 9 * x[3:]]))[:3], encoder(x)[:3], rtol=1e-4, atol=1e-5)


def test_the_decoder_does_not_end_in_an_activation():
    _, decoder = conv.networks((1, 8, 8), **{**SMALL, "activation": "relu"})
    params = decoder(normals(50, 3))
    assert params.min() < 0 < params.max()


@pytest.mark.parametrize(
    ("image_shape", "setting", "sentence"),
    [
        ((1, 8, 8), {"channels": [16] * 4}, "at most 3 for images of 8 x 8, .*got 4"),
        ((3, 64, 15), {"channels": [16] * 4}, "at most 3 for images of 64 x 15, .*got 4"),
        ((1, 7, 28), {"channels": [16]}, "of 7 x 28, .*at least 8 x 8, got 1"),
        ((1, 28, 28), {"channels": []}, "channels must be a list of at least one integer"),
        ((1, 28, 28), {"channels": [16, 0]}, "channels must be a list of at least one integer of at least 2"),
        ((1, 28, 28), {"features": 0}, "features must be an integer of at least 1, got 0"),
        ((1, 28, 28), {"linear": 1}, "linear must be true or false, got 1"),
        ((1, 28, 28), {"activation": "gleu"}, "activation must be one of .*got 'gleu'; did you mean .*'gelu'"),
    ],
)
def test_a_setting_out_of_range_is_refused_with_a_sentence(image_shape, setting, sentence):
    with pytest.raises(ValueError, match=sentence):
        conv.networks(image_shape, **{**SMALL, **setting})


@pytest.mark.parametrize(("size", "halvings"), [((8, 8), 3), ((16, 16), 4), ((9, 40), 3)])
def test_as_many_halvings_as_the_image_allows_are_accepted(size, halvings):
    encoder, decoder = conv.networks((1, *size), **{**SMALL, "channels": [16] * halvings})
    assert encoder(torch.rand(2, 1, *size)).shape == (2, 12)
    assert decoder(torch.randn(2, 3)).shape == (2, 2, *size)


@pytest.mark.parametrize("channels", [[16], [32, 64, 128], [8, 8, 8]], ids=str)
def test_a_batch_of_one_image_is_enough(channels):
    encoder, decoder = conv.networks((1, 8, 8), **{**SMALL, "channels": channels})
    decoder(encoder(torch.rand(1, 1, 8, 8))[:, :3]).sum().backward()
    gradients = [parameter.grad.abs().max() for parameter in (*encoder.parameters(), *decoder.parameters())]
    assert min(gradients) > 0


def test_the_linear_paths_are_linear_in_pixels_and_latent_and_reach_the_means_only():
    encoder, decoder = conv.networks((3, 9, 13), **{**SMALL, "out_channels": 6, "linear": True})
    x, y = unit_interval(levels(2, 3, 9, 13)).unsqueeze(1)
    half_way = (encoder(x) + encoder(y)) / 2
    same = torch.isclose(encoder((x + y) / 2), half_way, atol=1e-5)[0]
    assert same.tolist() == [False] * 12 + [True] * 12
    assert not decoder.linear.weight.any()  # at first there is nothing but noise to map
    torch.nn.init.normal_(decoder.linear.weight)
    z = normals(2, 3)
    added = decoder(z) - decoder.decoder(z)
    torch.testing.assert_close(decoder(2 * z) - decoder.decoder(2 * z), 2 * added, rtol=1e-4, atol=1e-5)
    assert added[:, :3].abs().min() > 0
    assert not added[:, 3:].any()


def losses_of_photographs(images, scale_of_weights, steps=100, batch_size=32):
    """Losses of the first steps with Adam on photographs, from weights multiplied by a number near one."""
    torch.manual_seed(0)
    setting = {"channels": [32, 64, 128], "features": 256, "activation": "silu", "linear": True}
    encoder, decoder = conv.networks((3, 32, 32), latent_dim=128, out_channels=6, **setting)
    posterior = GaussianPosterior(encoder.out_features, 128)
    vae = VAE(encoder, decoder, posterior, NormalPrior(), LogisticLikelihood(), latent_dim=128)
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.mul_(scale_of_weights)
    optimizer = torch.optim.Adam(vae.parameters(), lr=1e-3, fused=True)
    objective = ELBO(beta=1.0, warmup_steps=0, samples=1)
    losses = []
    for step in range(steps):
        batch = images[step * batch_size : (step + 1) * batch_size]
        loss, _, _ = objective(vae, unit_interval(batch), normals(1, batch_size, 128, seed=step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return torch.tensor(losses, dtype=torch.float64)


@pytest.mark.slow
def test_rounding_does_not_grow_while_it_trains_on_photographs(data_root):
    images = load(str(data_root), val_size=5000, binarize="none").train.images
    losses, others = (losses_of_photographs(images, scale) for scale in (1.0, 1 + 1e-6))
    assert losses[-10:].mean() < 0.8 * losses[0]
    assert (others / losses - 1).abs().max() < 3e-5

"""The discriminator of latents learns the density ratio of two normals, and gives each its gradient alone."""

import math

import pytest
import torch

from helpers.combinations import normals
from helpers.small_training import assert_resumes_bit_for_bit
from vaelab.objective.discriminator import Discriminator, adam
from vaelab.run.build import Builder


def discriminator(latent_dim=1, hidden=(32,)):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Discriminator(latent_dim, list(hidden))


def test_trained_it_is_the_log_of_the_density_ratio():
    network = discriminator()
    optimizer = adam(network, 0.01, [0.5, 0.9])
    for step in range(300):
        first, second = normals(2, 512, 1, seed=step)
        own, terms = network.told_apart(first, second + 1)
        optimizer.zero_grad()
        own.backward()
        optimizer.step()
    z = torch.linspace(-1, 2, 7)[:, None]
    # log N(z; 0, 1) - log N(z; 1, 1) = 1/2 - z
    torch.testing.assert_close(network(z), 0.5 - z.squeeze(), rtol=0, atol=0.3)
    right = torch.special.ndtr(torch.tensor(0.5)).item()
    assert terms["discriminator_accuracy"].item() == pytest.approx(right, abs=0.05)
    assert terms["discriminator_loss"] < 0.62 < math.log(2)


def test_what_it_is_trained_by_has_no_gradient_for_the_latents():
    network, (first, second) = discriminator(), normals(2, 8, 1)
    own, _ = network.told_apart(first.requires_grad_(), second.requires_grad_())
    own.backward()
    assert first.grad is None
    assert second.grad is None
    assert all(parameter.grad.abs().sum() > 0 for parameter in network.parameters())


def test_fixed_it_has_the_same_value_and_a_gradient_for_the_latents_alone():
    network, z = discriminator(), normals(8, 1).requires_grad_()
    torch.testing.assert_close(network.fixed(z), network(z))
    (expected,) = torch.autograd.grad(network(z).sum(), z)
    network.fixed(z).sum().backward()
    torch.testing.assert_close(z.grad, expected)
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize(
    ("hidden", "sentence"),
    [
        ([], r"hidden must be a list of sizes of layers, got \[\]"),
        ("16", "hidden must be a list of sizes of layers, got '16'"),
        ([16, 0], "hidden must be an integer of at least 1, got 0"),
    ],
)
def test_widths_out_of_range_are_refused_with_a_sentence(hidden, sentence):
    with pytest.raises(ValueError, match=sentence):
        Discriminator(2, hidden)


@pytest.mark.parametrize(
    ("lr", "betas", "sentence"),
    [
        (0, [0.5, 0.9], "lr must be a finite number above 0, got 0"),
        (0.1, [0.5], r"betas must be two numbers from 0 to below 1, got \[0.5\]"),
        (0.1, [0.5, 1.0], r"betas must be two numbers from 0 to below 1, got \[0.5, 1.0\]"),
        (0.1, 0.9, "betas must be two numbers from 0 to below 1, got 0.9"),
    ],
)
def test_settings_that_adam_cannot_take_are_refused_with_a_sentence(lr, betas, sentence):
    with pytest.raises(ValueError, match=sentence):
        adam(discriminator(), lr, betas)


@pytest.mark.parametrize("objective", ["factor", "adversarial"])
def test_one_trains_beside_the_model_and_resumes_bit_for_bit(objective, compose, tmp_path):
    small = ("model.hidden=[16]", "latent.dim=3", "trainer.batch_size=64")
    own = (f"objective={objective}", "objective.discriminator_hidden=[16]", "objective.discriminator_lr=0.01")
    config = compose("dataset=digits", "logger=local", *small, *own)
    whole = assert_resumes_bit_for_bit(lambda: Builder(config, None).setup(), 3, tmp_path)
    start, end = Builder(config, None).setup().objective.state_dict(), whole.objective.state_dict()
    assert not any(torch.equal(start[name], end[name]) for name in start)

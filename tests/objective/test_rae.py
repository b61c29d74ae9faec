"""The regularised autoencoder: its loss, and its penalties against closed forms on a linear decoder."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from helpers.combinations import levels, normals
from helpers.linear_gaussian import IMAGE_SHAPE, LATENT_DIM, PIXELS, linear_gaussian_vae
from helpers.small_training import assert_resumes_bit_for_bit, train, trainer_of
from vaelab.errors import UserError
from vaelab.evaluation.evaluator import evaluate
from vaelab.objective.rae import RAE, spectral_penalty
from vaelab.ops import unit_interval
from vaelab.posterior.delta import DeltaPosterior
from vaelab.run.build import Builder
from vaelab.training.clock import Clock
from vaelab.training.compiled import CompiledStep
from vaelab.training.step import EagerStep

X = unit_interval(levels(5, *IMAGE_SHAPE))
NOISE = normals(2, len(X), LATENT_DIM)
REGULARIZERS = ("l2", "gradient_penalty", "spectral")


def autoencoder():
    """A linear VAE whose posterior is a point."""
    vae = linear_gaussian_vae()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vae.posterior = DeltaPosterior(PIXELS, LATENT_DIM)
    return vae


def loss_of(vae, beta=0.0, regularizer="none", weight=1.0, noise=NOISE):
    objective = RAE(beta, regularizer, weight)
    return objective(vae, X, noise[: objective.samples])


def penalty(regularizer, noise=NOISE):
    return loss_of(autoencoder(), regularizer=regularizer, noise=noise)[2]["penalty"]


def test_without_weights_it_is_the_reconstruction_and_there_is_no_elbo():
    vae = autoencoder()
    loss, trace, terms = loss_of(vae)
    z = vae.posterior.head(X.flatten(1))
    params = vae.decoder(z)
    torch.testing.assert_close(loss, -vae.likelihood.log_prob(params.unsqueeze(0), X).mean())
    assert trace.terms.keys() == {"reconstruction"}
    assert terms.keys() == {"squared_latent"}
    torch.testing.assert_close(terms["squared_latent"], z.square().sum(1).mean())


@pytest.mark.parametrize("beta", [0.5, 3.0])
def test_half_the_squared_latent_is_weighted_by_beta(beta):
    loss, trace, terms = loss_of(autoencoder(), beta)
    torch.testing.assert_close(loss, beta / 2 * terms["squared_latent"] - trace.terms["reconstruction"])


@pytest.mark.parametrize("regularizer", REGULARIZERS)
def test_the_penalty_is_weighted_and_reported_without_its_weight(regularizer):
    loss, trace, terms = loss_of(autoencoder(), regularizer=regularizer, weight=7.0)
    assert terms["penalty"] > 0.1
    torch.testing.assert_close(loss, 7 * terms["penalty"] - trace.terms["reconstruction"])


def test_l2_is_the_squared_norm_of_the_decoders_parameters():
    decoder = autoencoder().decoder[0]
    torch.testing.assert_close(penalty("l2"), decoder.weight.square().sum() + decoder.bias.square().sum())


def test_the_gradient_penalty_is_the_squared_norm_of_the_jacobian_in_the_mean():
    """Of a linear decoder the Jacobian is W; axes of length sqrt(D) are directions whose mean is exact."""
    weight = autoencoder().decoder[0].weight
    axes = LATENT_DIM**0.5 * torch.eye(LATENT_DIM)
    found = [penalty("gradient_penalty", torch.stack([NOISE[0], axis.expand_as(NOISE[0])])) for axis in axes]
    torch.testing.assert_close(torch.stack(found).mean(), weight.square().sum())
    direction = NOISE[1]
    torch.testing.assert_close(penalty("gradient_penalty"), (direction @ weight.T).square().sum(1).mean())


def test_the_gradient_penalty_reaches_decoder_and_encoder_through_a_decoder_that_is_not_linear():
    vae = autoencoder()
    vae.decoder = nn.Sequential(nn.Linear(LATENT_DIM, 8), nn.Tanh(), nn.Linear(8, PIXELS), nn.Unflatten(1, IMAGE_SHAPE))
    z, v = vae.posterior.head(X.flatten(1)), NOISE[1]
    jacobians = torch.func.vmap(torch.func.jacrev(lambda z: vae.decoder(z[None]).flatten()))(z)  # (B, pixels, D)
    expected = (jacobians @ v.unsqueeze(-1)).square().sum((1, 2)).mean()
    found = loss_of(vae, regularizer="gradient_penalty")[2]["penalty"]
    torch.testing.assert_close(found, expected)
    parameters = [vae.posterior.head.weight, vae.decoder[0].weight, vae.decoder[2].weight]
    for one, other in zip(
        torch.autograd.grad(found, parameters), torch.autograd.grad(expected, parameters), strict=True
    ):
        torch.testing.assert_close(one, other)
        assert one.abs().max() > 1e-4


def test_the_spectral_penalty_is_the_largest_squared_singular_value():
    torch.testing.assert_close(penalty("spectral"), torch.tensor(1.0))  # of columns of lengths 0.5 and 1


@pytest.mark.parametrize("layer", [nn.Linear(30, 20), nn.Conv2d(4, 6, 3), nn.ConvTranspose2d(6, 4, 3)], ids=type)
def test_the_spectral_penalty_has_the_value_and_gradient_of_a_singular_value_decomposition(layer):
    with torch.no_grad():  # a largest value that stands apart, as those of trained layers do
        left, right = normals(len(layer.weight)), normals(layer.weight[0].numel(), seed=1)
        layer.weight.copy_(0.1 * normals(*layer.weight.shape) + 0.2 * torch.outer(left, right).view_as(layer.weight))
    found = spectral_penalty(nn.Sequential(layer, nn.ReLU()))
    expected = torch.linalg.matrix_norm(layer.weight.flatten(1), 2).square()
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=0)
    gradients = (torch.autograd.grad(value, layer.weight)[0] for value in (found, expected))
    torch.testing.assert_close(*gradients, rtol=1e-2, atol=1e-2)


class WithLosses(nn.Module):
    """A model with losses of its own, as a codebook has."""

    def forward(self, x, noise, y=None):
        return replace(autoencoder()(x, noise, y), losses={"one": torch.tensor(2.0), "other": torch.tensor(0.5)})


def test_further_losses_of_the_model_are_added_unweighted():
    loss, trace, _ = loss_of(WithLosses(), beta=0.0)
    torch.testing.assert_close(loss, 2.5 - trace.log_px.mean())


def test_with_a_density_the_elbo_is_reported_and_unweighted():
    vae = linear_gaussian_vae(mean_shift=0.5)
    loss, trace, _ = loss_of(vae)
    assert trace.terms.keys() == {"elbo", "reconstruction", "kl"}
    torch.testing.assert_close(loss, -trace.terms["reconstruction"])


def test_models_with_several_groups_of_latents_or_no_decoder_are_refused():
    with pytest.raises(UserError, match="objective=rae needs a VAE with one group of latents, got WithLosses"):
        loss_of(WithLosses(), regularizer="l2")
    with pytest.raises(UserError, match="objective=rae needs a VAE with one group of latents, got WithLosses"):
        RAE(0.0, "none", 1.0)(WithLosses(), X, (NOISE[:1], NOISE[:1]))


@pytest.fixture
def build(compose):
    def build(*overrides):
        small = ("dataset=digits", "logger=local", "model.hidden=[16]", "latent.dim=3", "trainer.batch_size=64")
        return Builder(compose(*small, "objective=rae", "objective.weight=0.01", *overrides), None).setup()

    return build


@pytest.mark.parametrize("regularizer", ("none", *REGULARIZERS))
def test_it_trains_resumes_and_evaluates(regularizer, build, tmp_path):
    given = ("posterior=delta", f"objective.regularizer={regularizer}")
    whole = assert_resumes_bit_for_bit(lambda: build(*given), 1, tmp_path)
    metrics = evaluate(whole.model.eval(), whole.objective, whole.dataset, whole.dataset.val, 100)
    assert {"reconstruction", "squared_latent", "loss"} <= metrics.keys()
    assert "elbo" not in metrics
    assert ("penalty" in metrics) == (regularizer != "none")


def test_a_conditional_models_decoder_is_regularised_too(build):
    setup = build("posterior=fsq", "conditional=labels", "objective.regularizer=gradient_penalty")
    assert setup.objective.samples == 2


@pytest.mark.slow
@pytest.mark.parametrize("regularizer", ["none", "l2"])
def test_its_compiled_step_is_its_eager_one(regularizer, build, tmp_path):
    given = ("posterior=delta", f"objective.regularizer={regularizer}")
    eager, compiled = (trainer_of(build(*given), tmp_path) for _ in range(2))
    step = EagerStep(compiled.model, compiled.objective, compiled.optimizer, None)
    compiled.train_step = CompiledStep(step, 64, insists=True, clock=Clock(compiled.device, lambda seconds: None))
    for trainer in (eager, compiled):
        train(trainer, 6)
    assert compiled.meter.read()[0] == pytest.approx(eager.meter.read()[0], rel=1e-4)


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"beta": -0.1}, "beta must be a finite number of at least 0, got -0.1"),
        ({"weight": "1"}, "weight must be a finite number of at least 0, got '1'"),
        ({"regularizer": "L2"}, "regularizer must be one of none, l2, gradient_penalty, spectral, got 'L2'"),
    ],
)
def test_a_setting_out_of_range_is_refused_with_a_sentence(setting, sentence):
    with pytest.raises(ValueError, match=sentence):
        RAE(**{"beta": 1.0, "regularizer": "none", "weight": 1.0, **setting})

"""A part of a person's own that is not what `vaelab.parts` says is refused before the first step, in one sentence."""

import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from helpers.fakes import small_vae
from vaelab.distributions import StandardNormal
from vaelab.errors import UserError
from vaelab.likelihood.bernoulli import BernoulliLikelihood
from vaelab.model.mlp import networks
from vaelab.posterior.gaussian import GaussianPosterior
from vaelab.run.build import Builder
from vaelab.run.contracts import check_objective
from vaelab.training.step import has_networks
from vaelab.vae import VAE


class NoFeatures(nn.Module):
    def forward(self, x):
        return x.flatten(1)


class Encoder(NoFeatures):
    def __init__(self, out_features):
        super().__init__()
        self.out_features = out_features


class Decoder(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.layer = nn.Linear(3, channels * 64)
        self.channels = channels

    def forward(self, z):
        return self.layer(z).view(-1, self.channels, 8, 8)


class Changed(GaussianPosterior):
    """A posterior whose distribution draws what `change` makes of the samples and their log density."""

    def forward(self, h):
        q = super().forward(h)
        return SimpleNamespace(
            draw=lambda eps: self.change(*q.draw(eps)), log_prob=q.log_prob, kl=q.kl, detached=q.detached
        )


class OneSample(Changed):
    def change(self, z, log_q):
        return z[0], log_q


class OneDensity(Changed):
    def change(self, z, log_q):
        return z, log_q.sum()


class NoDistribution(GaussianPosterior):
    def forward(self, h):
        return super().forward(h).mean


class NoForward:
    pixels = None


class PriorAsSum(nn.Module):
    def forward(self, infer):
        p = StandardNormal()
        return SimpleNamespace(draw=p.draw, log_prob=lambda z: p.log_prob(z).sum(), kl=p.kl, detached=p.detached)


class PriorWithoutSamples(nn.Module):
    def forward(self, infer):
        return SimpleNamespace(log_prob=StandardNormal().log_prob, kl=lambda other: None, detached=lambda: None)


class PixelByPixel(BernoulliLikelihood):
    def log_prob(self, params, x):
        return params * x


def pixel_by_pixel():
    return PixelByPixel((1, 8, 8), centred=False)


class Objective:
    samples, is_mean_over_images, compiles = 1, True, True


class LossAlone(Objective):
    def __call__(self, model, x, noise, step=None, y=None):
        return model(x, noise).log_px.mean()


class NoTrace(Objective):
    def __call__(self, model, x, noise, step=None, y=None):
        return model(x, noise).log_px.mean(), None, {}


class LossByImage(Objective):
    def __call__(self, model, x, noise, step=None, y=None):
        trace = model(x, noise)
        return trace.log_px, trace, {}


class TermByImage(Objective):
    def __call__(self, model, x, noise, step=None, y=None):
        trace = model(x, noise)
        return trace.log_px.mean(), trace, {"size": trace.kl}


class TakenName(Objective):
    def __call__(self, model, x, noise, step=None, y=None):
        trace = model(x, noise)
        return trace.log_px.mean(), trace, {"elbo": trace.log_w.mean()}


class WithoutTrace(VAE):
    def forward(self, x, noise, y=None):
        return super().forward(x, noise, y).log_px


class WithoutEmbedding(VAE):
    embed = None


def whole(kind):
    """A whole model of that kind."""

    def make(image_shape, latent_dim, likelihood):
        vae = small_vae(latent_dim, likelihood=likelihood)
        return kind(vae.encoder, vae.decoder, vae.posterior, vae.prior, vae.likelihood, latent_dim)

    return make


def fails(x):
    raise RuntimeError("sizes\ndiffer")


def models(make):
    return lambda image_shape, latent_dim, out_channels: make()


def posteriors(kind):
    return lambda in_features, latent_dim: kind(in_features, latent_dim)


class Failing(Encoder):
    def forward(self, x):
        return fails(x)


MISTAKES = {
    "one module": (
        "model",
        models(lambda: nn.Sequential(Encoder(64), Decoder(1))),
        "vaelab.parts.Model names, got torch.nn",
    ),
    "three modules": ("model", models(lambda: (Encoder(64), Decoder(1), Decoder(1))), "a whole model, got 3 objects"),
    "nothing": ("model", models(lambda: None), "a whole model, got NoneType; return the pair (encoder, decoder)"),
    "functions": ("model", models(lambda: (fails, fails)), "torch.nn.Module, got function among them"),
    "no out_features": ("model", models(lambda: (NoFeatures(), Decoder(1))), "integer out_features, the F of its h"),
    "a number as text": ("model", models(lambda: (Encoder("64"), Decoder(1))), "integer out_features"),
    "wrong features": ("model", models(lambda: (Encoder(32), Decoder(1))), "h (B, F) of shape (2, 32) for 2 images"),
    "wrong channels": (
        "model",
        models(lambda: (Encoder(64), Decoder(2))),
        "likelihood parameters (N, M, H, W) of shape (2, 1",
    ),
    "an error inside": ("model", models(lambda: (Failing(64), Decoder(1))), "shape (2, 1, 8, 8) in line"),
    "no trace": ("model", whole(WithoutTrace), "model must give a vaelab.parts.Trace, got torch.Tensor"),
    "no embedding": ("model", whole(WithoutEmbedding), "model.embed failed"),
    "no distribution": ("posterior", posteriors(NoDistribution), "what posterior returns must have all that"),
    "no samples dimension": ("posterior", posteriors(OneSample), "posterior must give z (K, B, D) of shape (1, 2, 3)"),
    "one density": ("posterior", posteriors(OneDensity), "posterior must give log q(z|x) (K, B) of shape (1, 2)"),
    "a prior that is no function": (
        "prior",
        NoForward,
        "parts.Prior names, got test_contracts.NoForward without __call__",
    ),
    "a prior without samples": ("prior", PriorWithoutSamples, "what prior returns must have all that"),
    "a prior as a sum": ("prior", PriorAsSum, "prior must give log p(z) (K, B) of shape (1, 2)"),
    "no likelihood": ("likelihood", NoForward, "without log_prob, mean, out_channels, sample; add it"),
    "a likelihood by pixel": (
        "likelihood",
        lambda: PixelByPixel((1, 8, 8), False),
        "log p(x|z) (K, B) of shape (1, 2)",
    ),
    "no objective": ("objective", NoForward, "without compiles, is_mean_over_images, samples, __call__"),
    "a loss alone": ("objective", LossAlone, "must return the loss, the trace and a dictionary of further terms, got"),
    "a loss without a trace": ("objective", NoTrace, "further terms, got torch.Tensor, NoneType, dict"),
    "a loss by image": ("objective", LossByImage, "the loss of the batch, in nats () of shape ()"),
    "a term by image": ("objective", TermByImage, "size of the batch, in nats () of shape ()"),
    "a name that is taken": ("objective", TakenName, "further terms of names of their own, got elbo"),
    "no dataset": ("dataset", list, "dataset must be a vaelab.dataset.images.Dataset, got list"),
    "no optimizer": ("optimizer", lambda params, lr: None, "must be a torch.optim.optimizer.Optimizer, got NoneType"),
    "no schedule": ("scheduler", dict, "scheduler must be called with (step, total steps)"),
}


@pytest.fixture
def config(compose):
    return compose("dataset=digits", "logger=local", "model.hidden=[8]", "latent.dim=3", "trainer.device=cpu")


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_part_that_breaks_its_contract_is_refused_in_one_sentence(mistake, config, monkeypatch):
    part, make, expected = MISTAKES[mistake]
    monkeypatch.setattr(sys.modules[__name__], "made_here", make, raising=False)
    monkeypatch.setitem(sys.modules, "test_contracts", sys.modules[__name__])
    config[part] = {"_target_": "test_contracts.made_here", **({"lr": 0.1} if part == "optimizer" else {})}
    with pytest.raises(UserError) as raised:
        Builder(config, None).setup()
    assert expected in str(raised.value).replace(__name__, "test_contracts")
    assert "\n" not in str(raised.value)


def test_parts_that_keep_their_contracts_are_left_as_they_were(config):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    setup = Builder(config, None).setup()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(module.training for module in setup.model.modules())
    assert all(parameter.grad is None for parameter in setup.model.parameters())


def test_a_batch_norm_keeps_its_running_mean(config, monkeypatch):
    def with_norm(image_shape, latent_dim, out_channels):
        encoder, decoder = networks(image_shape, latent_dim, out_channels, [8], "relu")
        encoder.layers.append(nn.BatchNorm1d(8))
        return encoder, decoder

    monkeypatch.setattr(sys.modules[__name__], "made_here", with_norm, raising=False)
    monkeypatch.setitem(sys.modules, "test_contracts", sys.modules[__name__])
    config["model"] = {"_target_": "test_contracts.made_here"}
    norm = Builder(config, None).setup().model.encoder.layers[-1]
    assert norm.num_batches_tracked == 0


class Perceptual(nn.Module):
    """Adds a distance in the features of a network."""

    is_mean_over_images, compiles, samples = True, True, 1

    def __init__(self, frozen):
        super().__init__()
        self.features = nn.Linear(64, 3).requires_grad_(not frozen)

    def forward(self, model, x, noise, step=None, y=None):
        trace = model(x, noise, y)
        means = model.likelihood.mean(model.decode(trace.latents[0].z[0]))
        distance = (self.features(means.flatten(1)) - self.features(x.flatten(1))).square().mean()
        return distance + trace.kl.mean() - trace.log_px.mean(), trace, {}


def test_networks_of_an_objective_are_frozen_or_have_an_optimizer(compose):
    config = compose("dataset=digits", "logger=local", "model.hidden=[16]", "trainer.max_steps=9000")
    for frozen in (True, False):
        builder = Builder(config, None)
        builder.objective = lambda facts, seed=0, frozen=frozen: _checked(Perceptual(frozen))
        if frozen:
            assert not has_networks(builder.setup().objective)
        else:
            with pytest.raises(UserError, match="must have an `optimizer` over the networks that it brings, got none"):
                builder.setup()


def _checked(objective):
    check_objective(objective)
    return objective


UNTRAINED = {
    "elbo": ("objective.beta=0", "objective.warmup_steps=9"),
    "mmd": ("objective.alpha=1", "objective.lambda_mmd=0"),
    "capacity": ("objective.gamma=0",),
    "tc": ("objective.gamma=0",),
    "ms_ssim": ("objective.beta=0",),
}


@pytest.mark.parametrize("objective", UNTRAINED)
@pytest.mark.parametrize("prior", [("prior=mixture",), ("prior=vamp",), ("prior=flow",), ("conditional=labels",)])
def test_a_prior_that_a_weight_of_zero_leaves_as_it_is_is_refused(objective, prior, compose):
    given = (f"objective={objective}", *UNTRAINED[objective], *prior)
    config = compose("dataset=digits", "logger=local", "model.hidden=[8]", "latent.dim=3", "trainer.device=cpu", *given)
    with pytest.raises(UserError, match=r"does not train the prior, and .* has weights to be trained"):
        Builder(config, None).setup()


@pytest.mark.parametrize("setting", ["warmup_steps=9", "free_bits=50"])
def test_a_prior_that_is_trained_later_is_not_refused(setting, compose):
    small = ("dataset=digits", "logger=local", "model.hidden=[8]", "latent.dim=3", "trainer.device=cpu")
    Builder(compose(*small, "prior=mixture", f"objective.{setting}"), None).setup()


def test_weights_that_are_frozen_need_no_gradient(compose, monkeypatch):
    made = Builder.model
    monkeypatch.setattr(Builder, "model", lambda *given: _frozen(made(*given)))
    setup = Builder(compose("dataset=digits", "logger=local", "model.hidden=[16]"), None).setup()
    assert not any(weight.requires_grad for weight in setup.model.encoder.parameters())


def _frozen(model):
    model.encoder.requires_grad_(False)
    return model

"""A part of a person's own that is not what `vaelab.parts` says is refused before the first step, in one sentence."""

import sys
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from vaelab.errors import UserError
from vaelab.likelihood.bernoulli import BernoulliLikelihood
from vaelab.model.mlp import networks
from vaelab.objective.elbo import ELBO
from vaelab.posterior.gaussian import GaussianPosterior
from vaelab.prior.normal import NormalPrior
from vaelab.run.build import Builder


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


class NoLogDensity(GaussianPosterior):
    def forward(self, h, eps):
        drawn = super().forward(h, eps)
        return SimpleNamespace(z=drawn.z, kl_to_standard_normal=None)


class OneSample(GaussianPosterior):
    def forward(self, h, eps):
        drawn = super().forward(h, eps)
        return replace(drawn, z=drawn.z[0])


class NoSample(nn.Module):
    is_standard_normal = True

    def log_prob(self, z):
        return z.square().sum(-1)


class SumOfAll(NormalPrior):
    def log_prob(self, z):
        return super().log_prob(z).sum()


class PixelByPixel(BernoulliLikelihood):
    def log_prob(self, params, x):
        return params * x


@dataclass
class OneLoss:
    samples: int = 1

    def __call__(self, trace, step=None):
        return trace.log_px.mean()


@dataclass
class NoTerms(OneLoss):
    def __call__(self, trace, step=None):
        return trace.log_px.mean(), {"elbo": trace.log_px.mean()}


@dataclass
class LossByImage(OneLoss):
    def __call__(self, trace, step=None):
        return trace.log_px, {}


def fails(x):
    raise RuntimeError("sizes\ndiffer")


def models(make):
    return lambda image_shape, latent_dim, params_per_channel: make()


def posteriors(kind):
    return lambda in_features, latent_dim: kind(in_features, latent_dim)


class Failing(Encoder):
    def forward(self, x):
        return fails(x)


MISTAKES = {
    "one module": ("model", models(lambda: nn.Sequential(Encoder(64), Decoder(1))), "two networks, got torch.nn"),
    "three modules": ("model", models(lambda: (Encoder(64), Decoder(1), Decoder(1))), "two networks, got 3 objects"),
    "nothing": ("model", models(lambda: None), "two networks, got NoneType; return the pair (encoder, decoder)"),
    "functions": ("model", models(lambda: (fails, fails)), "torch.nn.Module, got function among them"),
    "no out_features": ("model", models(lambda: (NoFeatures(), Decoder(1))), "integer out_features, the F of its h"),
    "a number as text": ("model", models(lambda: (Encoder("64"), Decoder(1))), "integer out_features"),
    "wrong features": ("model", models(lambda: (Encoder(32), Decoder(1))), "h (B, F) of shape (2, 32) for 2 images"),
    "wrong channels": (
        "model",
        models(lambda: (Encoder(64), Decoder(2))),
        "(N, P * C, H, W) of shape (2, 1",
    ),
    "an error inside": ("model", models(lambda: (Failing(64), Decoder(1))), "shape (2, 1, 8, 8) in line"),
    "no density": ("posterior", posteriors(NoLogDensity), "vaelab.parts.Draw names"),
    "no samples dimension": ("posterior", posteriors(OneSample), "posterior must give z (K, B, D) of shape (1, 2, 3)"),
    "a prior without samples": (
        "prior",
        NoSample,
        "parts.Prior names, got test_contracts.NoSample without sample",
    ),
    "a prior as a sum": ("prior", SumOfAll, "prior.log_prob must give log p(z) (K, B) of shape (1, 2)"),
    "no likelihood": ("likelihood", NoSample, "params_per_channel, sample, supports"),
    "a likelihood by pixel": ("likelihood", PixelByPixel, "log p(x|z) (K, B) of shape (1, 2)"),
    "no objective": ("objective", NoSample, "vaelab.parts.Objective names"),
    "a loss alone": ("objective", OneLoss, "the loss and a dictionary of its terms, got torch.Tensor"),
    "no terms": ("objective", NoTerms, "got none named reconstruction, kl"),
    "a loss by image": ("objective", LossByImage, "the loss as a mean over images, in nats () of shape ()"),
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
        Builder(config, None).experiment()
    assert expected in str(raised.value).replace(__name__, "test_contracts")
    assert "\n" not in str(raised.value)


def test_parts_that_keep_their_contracts_are_left_as_they_were(config):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    experiment = Builder(config, None).experiment()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(module.training for module in experiment.vae.modules())
    assert all(parameter.grad is None for parameter in experiment.vae.parameters())


def test_a_batch_norm_keeps_its_running_mean(config, monkeypatch):
    def with_norm(image_shape, latent_dim, params_per_channel):
        encoder, decoder = networks(image_shape, latent_dim, params_per_channel, [8], "relu")
        encoder.layers.append(nn.BatchNorm1d(8))
        return encoder, decoder

    monkeypatch.setattr(sys.modules[__name__], "made_here", with_norm, raising=False)
    monkeypatch.setitem(sys.modules, "test_contracts", sys.modules[__name__])
    config["model"] = {"_target_": "test_contracts.made_here"}
    norm = Builder(config, None).experiment().vae.encoder.layers[-1]
    assert norm.num_batches_tracked == 0


def test_the_objectives_own_protocol_is_kept():
    assert isinstance(ELBO(1.0, 0, 1).samples, int)

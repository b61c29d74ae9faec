"""The contract carries what the field has built: each of these trains, resumes bit for bit, samples and evaluates."""

import threading
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers.linear_gaussian import IMAGE_SHAPE, linear_gaussian_vae, log_marginal
from helpers.published import points
from helpers.published.mixture import Mixture
from helpers.published.objectives import IWAE, MMD, TC, FreeBits
from helpers.small_training import Recorder, assert_resumes_bit_for_bit, train, trainer_of
from vaelab.distributions import Normal, StandardNormal
from vaelab.errors import UserError
from vaelab.evaluation.evaluator import evaluate
from vaelab.evaluation.importance import log_likelihood
from vaelab.machine.ranks import Ranks
from vaelab.objective.elbo import ELBO
from vaelab.ops import generator, unit_interval
from vaelab.run.build import Builder
from vaelab.training.clock import Clock
from vaelab.training.compiled import CompiledStep
from vaelab.training.loop import Trainer
from vaelab.training.shared import SharedStep
from vaelab.training.signals import StopRequest
from vaelab.training.step import EagerStep

HERE = "helpers.published"
PUBLISHED = {
    "vamp": {"prior": f"{HERE}.mixture.VampPrior"},
    "mixture": {"prior": f"{HERE}.mixture.MixturePrior"},
    "iwae": {"objective": {"_target_": f"{HERE}.objectives.IWAE", "samples": 3}},
    "stl": {"objective": {"_target_": f"{HERE}.objectives.IWAE", "samples": 1, "gradient": "stl"}},
    "dreg": {"objective": {"_target_": f"{HERE}.objectives.IWAE", "samples": 3, "gradient": "dreg"}},
    "tc": {"objective": f"{HERE}.objectives.TC"},
    "mmd": {"objective": f"{HERE}.objectives.MMD"},
    "free bits": {"objective": f"{HERE}.objectives.FreeBits"},
    "rae": {"posterior": f"{HERE}.points.PointPosterior", "objective": f"{HERE}.objectives.RAE"},
    "vq": {"posterior": f"{HERE}.points.CodebookPosterior", "objective": f"{HERE}.objectives.Autoencoding"},
    "ladder": {"model": f"{HERE}.models.Ladder"},
    "ladder of importance": {
        "model": f"{HERE}.models.Ladder",
        "objective": {"_target_": f"{HERE}.objectives.IWAE", "samples": 3},
    },
    "labels": {"model": f"{HERE}.models.labelled_networks"},
    "labels to the prior too": {
        "model": f"{HERE}.models.labelled_networks",
        "prior": f"{HERE}.models.LabelledPrior",
    },
}
AUTOENCODERS = ("rae", "vq")


@pytest.fixture
def setup_of(compose):
    """Builds a published model on the digits from a config whose parts are those of the helpers."""

    def build(name, *overrides):
        config = compose(
            "dataset=digits", "logger=local", "model.hidden=[16]", "latent.dim=3", "trainer.batch_size=64", *overrides
        )
        for group, node in PUBLISHED[name].items():
            config[group] = node if isinstance(node, dict) else {"_target_": node}
        return Builder(config, None).setup(), config

    return build


@pytest.fixture(params=PUBLISHED)
def name(request):
    return request.param


def test_it_trains_and_resumes_bit_for_bit(name, setup_of, tmp_path):
    assert_resumes_bit_for_bit(lambda: setup_of(name)[0], 2, tmp_path)


def test_it_evaluates_and_samples_from_the_noise_given_and_no_other(name, setup_of):
    setup, _ = setup_of(name)
    model, dataset = setup.model.eval(), setup.dataset
    state = torch.get_rng_state()
    metrics = evaluate(model, setup.objective, dataset, dataset.val, 100)
    assert metrics == evaluate(model, setup.objective, dataset, dataset.val, 100)
    assert ("elbo" in metrics) == (name not in AUTOENCODERS)
    assert {"reconstruction", "loss"} <= metrics.keys()
    y = torch.arange(6) if model.takes_labels else None
    one, same = (model.sample(6, generator(5, "samples"), y) for _ in range(2))
    assert torch.equal(one, same)
    assert one.shape == (6, 1, 8, 8)
    assert one.min() >= 0
    assert one.max() <= 1
    assert torch.equal(torch.get_rng_state(), state)
    if "elbo" in metrics:
        # up to its noise, which many samples make small, the bound lies above the ELBO
        assert log_likelihood(model, dataset, dataset.val, 50, 100).mean() > metrics["elbo"] - 0.5


def test_its_weights_are_there_once_and_go_to_other_tools(name, setup_of, tmp_path):
    setup, _ = setup_of(name)
    state = setup.model.state_dict()
    places = [value.untyped_storage().data_ptr() for value in state.values()]
    assert len(set(places)) == len(places)
    save_file(state, tmp_path / "model.safetensors")
    assert load_file(tmp_path / "model.safetensors").keys() == state.keys()


@pytest.mark.parametrize("name", ["mixture", pytest.param("ladder", marks=pytest.mark.slow)])
def test_its_compiled_step_is_its_eager_one(name, setup_of, tmp_path):
    eager, compiled = (trainer_of(setup_of(name)[0], tmp_path) for _ in range(2))
    step = EagerStep(compiled.model, compiled.objective, compiled.optimizer, None)
    compiled.train_step = CompiledStep(step, 64, insists=True, clock=Clock(compiled.device, lambda seconds: None))
    for trainer in (eager, compiled):
        train(trainer, 6)
    assert compiled.train_step._graph is not None
    sums, _ = eager.meter.read()
    assert compiled.meter.read()[0] == pytest.approx(sums, rel=1e-5)


class Shares(Ranks):
    """Ranks that are threads of this process, which add up what each sends."""

    def connect(self, barrier, messages):
        object.__setattr__(self, "_place", (barrier, messages))
        return self

    def all_reduce(self, tensors, weight, vote):
        barrier, messages = self._place
        messages[self.rank] = [weight * tensor.detach() for tensor in tensors]
        barrier.wait()
        sums = [sum(parts) for parts in zip(*messages, strict=True)]
        barrier.wait()
        return sums, torch.zeros(())


@pytest.mark.parametrize("name", ["vq", "ladder", "vamp", "labels to the prior too", "dreg"])
def test_ranks_that_share_its_batch_have_the_step_of_one(name, setup_of, tmp_path):
    alone, *shared = (trainer_of(setup_of(name)[0], tmp_path) for _ in range(3))
    barrier, messages = threading.Barrier(2), [None, None]
    for rank, trainer in enumerate(shared):
        step = EagerStep(trainer.model, trainer.objective, trainer.optimizer, None)
        ranks = Shares(rank, 2).connect(barrier, messages)
        trainer.train_step = SharedStep(step, ranks, lambda: False)
    threads = [threading.Thread(target=train, args=(trainer, 3)) for trainer in shared]
    for thread in threads:
        thread.start()
    train(alone, 3)
    for thread in threads:
        thread.join()
    for key, value in alone.model.state_dict().items():
        torch.testing.assert_close(shared[0].model.state_dict()[key], value, rtol=1e-4, atol=1e-5)
        assert torch.equal(shared[0].model.state_dict()[key], shared[1].model.state_dict()[key])


def test_a_loss_that_compares_the_images_of_a_batch_is_refused_to_ranks(setup_of, tmp_path):
    for name in ("tc", "mmd", "free bits"):
        setup, _ = setup_of(name)
        with pytest.raises(UserError, match="compares the images of a batch, of which each of 2 ranks"):
            Trainer(setup, Recorder(), tmp_path, StopRequest(), Silent(0, 2))


class Silent(Ranks):
    def broadcast_tensors(self, tensors):
        pass


def test_a_step_of_a_codebook_changes_its_buffers_and_an_evaluation_does_not(setup_of, tmp_path):
    trainer = trainer_of(setup_of("vq")[0], tmp_path)
    before = trainer.model.posterior.sums.clone()
    evaluate(trainer.model.eval(), trainer.objective, trainer.dataset, trainer.dataset.val, 100)
    assert torch.equal(trainer.model.posterior.sums, before)
    train(trainer, 1)
    assert not torch.equal(trainer.model.posterior.sums, before)


def test_facts_go_by_name_to_the_parts_that_ask_for_them(setup_of):
    setup, config = setup_of("tc")
    assert setup.objective.train_size == len(setup.dataset.train.images) == 1300
    labelled, _ = setup_of("labels to the prior too")
    assert labelled.model.prior.mean.num_embeddings == 10
    config["objective"]["train_size"] = 5
    with pytest.raises(UserError, match="objective has no key 'train_size'"):
        Builder(config, None).setup()


def test_a_prior_that_cannot_take_the_labels_is_refused_in_one_sentence(setup_of):
    _, config = setup_of("labels")
    config["prior"] = {"_target_": f"{HERE}.mixture.VampPrior"}
    with pytest.raises(UserError, match="prior failed on tensors of shape"):
        Builder(config, None).setup()


def test_samples_of_a_mixture_are_of_its_density():
    mixture = Mixture(Normal(torch.tensor([[-2.0], [1.0]]), torch.tensor([[0.0], [-2.0]])), torch.tensor([0.0, 1.0]))
    eps = torch.randn(20_000, 1, generator=torch.Generator().manual_seed(0))
    z, log_prob = mixture.draw(eps)
    torch.testing.assert_close(log_prob, mixture.log_prob(z))
    grid = torch.linspace(-8, 8, 4001)
    cdf = mixture.log_prob(grid[:, None]).exp().cumsum(0) * (grid[1] - grid[0])
    found = (z.squeeze() <= grid[:, None]).double().mean(1)
    assert cdf[-1] == pytest.approx(1, abs=1e-3)
    assert (found - cdf).abs().max() < 1.63 / len(z) ** 0.5  # Kolmogorov and Smirnov at 1%


def linear(samples=4, **shift):
    vae = linear_gaussian_vae(**shift)
    return vae, unit_interval(torch.randint(0, 256, (3, *IMAGE_SHAPE), generator=torch.Generator().manual_seed(0)))


def test_the_importance_weighted_bound_of_one_sample_is_the_elbo_and_with_the_exact_posterior_log_p():
    vae, x = linear()
    noise = vae.noise(5, 3, torch.Generator().manual_seed(1))
    loss, trace, _ = IWAE(5)(vae, x, noise)
    assert -loss.item() == pytest.approx(log_marginal(vae, x).mean().item(), rel=1e-5)
    one, trace, _ = IWAE(1)(vae, x, noise[:1])
    estimate = trace.log_px + trace.latents[0].log_p - trace.latents[0].log_q
    assert one.item() == pytest.approx(-estimate.mean().item(), rel=1e-6)


def gradients(objective, vae, x, draws):
    """Of the encoder's heads and of the decoder, (draws, parameters) each."""
    found = []
    for draw in range(draws):
        noise = vae.noise(objective.samples, len(x), torch.Generator().manual_seed(draw))
        vae.zero_grad()
        objective(vae, x, noise)[0].backward()
        parts = (vae.posterior.heads.weight, vae.decoder[0].weight)
        found.append([part.grad.flatten().clone() for part in parts])
    return tuple(torch.stack(each) for each in zip(*found, strict=True))


def test_dreg_has_the_mean_of_the_bounds_gradient_and_a_smaller_variance():
    vae, x = linear(mean_shift=0.3, variance_factor=1.3)
    found = (gradients(IWAE(4, kind), vae, x, 1000) for kind in ("standard", "dreg"))
    (plain, plain_decoder), (dreg, dreg_decoder) = found
    torch.testing.assert_close(dreg_decoder, plain_decoder, rtol=1e-4, atol=1e-4)
    error = (plain.var(0) / len(plain) + dreg.var(0) / len(dreg)).sqrt()
    assert ((plain.mean(0) - dreg.mean(0)).abs() < 4.5 * error).all()
    assert dreg.var(0).sum() < plain.var(0).sum() / 5


def test_with_the_exact_posterior_stl_has_no_variance():
    vae, x = linear()
    (plain, _), (stl, _) = (gradients(IWAE(1, kind), vae, x, 50) for kind in ("standard", "stl"))
    assert stl.abs().max() < 1e-3
    assert plain.std(0).max() > 0.1


def test_the_terms_of_the_total_correlation_add_up_to_the_kl():
    vae, x = linear(mean_shift=0.3)
    noise = vae.noise(1, 3, torch.Generator().manual_seed(1))
    _, trace, terms = TC(train_size=3)(vae, x, noise)
    (latent,) = trace.latents
    assert sum(terms.values()).item() == pytest.approx((latent.log_q - latent.log_p).mean().item(), rel=1e-5)


def test_the_discrepancy_is_near_zero_between_samples_of_one_density():
    a, b = torch.randn(2, 2000, 3, generator=torch.Generator().manual_seed(0))
    assert MMD.discrepancy(a, b).abs() < 3e-3
    assert MMD.discrepancy(a, b + 1) > 0.1


def test_free_bits_let_a_small_kl_be():
    vae, x = linear()
    noise = vae.noise(1, 3, torch.Generator().manual_seed(1))
    kl = vae(x, noise).latents[0].kl.mean(0)
    assert FreeBits(nats=100.0)(vae, x, noise)[0].item() == pytest.approx(200 - vae(x, noise).log_px.mean().item())
    free = FreeBits(nats=kl.min().item() / 2)(vae, x, noise)[0]
    assert free.item() == pytest.approx(ELBO(1.0, 0, 1)(vae, x, noise)[0].item(), rel=1e-6)


def test_the_kl_of_a_ladder_is_that_of_its_groups(setup_of):
    model = setup_of("ladder")[0].model
    x = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0)).round()
    noise = model.noise(3000, 4, torch.Generator().manual_seed(1))
    trace = model(x, noise)
    assert [latent.kl.shape for latent in trace.latents] == [(4, 2), (4, 1)]
    torch.testing.assert_close(trace.kl, sum(latent.kl.sum(-1) for latent in trace.latents))
    estimate = (trace.log_px - trace.log_w).mean(0)
    torch.testing.assert_close(trace.kl, estimate, rtol=0.05, atol=0.05)


def test_labels_reach_encoder_prior_and_decoder(setup_of):
    model = setup_of("labels to the prior too")[0].model
    x, y = torch.ones(2, 1, 8, 8), torch.tensor([3, 4])
    assert not torch.equal(model.embed(x, y)[0], model.embed(x, y)[1])
    one, other = (model.sample(1, generator(0, "samples"), torch.tensor([label])) for label in (3, 4))
    assert not torch.equal(one, other)
    trace = model(x, model.noise(1, 2, torch.Generator().manual_seed(0)), y)
    assert isinstance(trace.latents[0].p, Normal)
    trace.log_w.sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


@pytest.mark.parametrize("model", ["mlp", "conv"])
def test_an_output_of_a_hundred_channels_for_rgb(model, compose):
    small = {"mlp": "model.hidden=[8]", "conv": "model.channels=[8,8]"}[model]
    config = compose(f"model={model}", "dataset=digits", "latent.dim=3", "logger=local", "dataset.binarize=none", small)
    config["likelihood"] = {"_target_": f"{HERE}.models.HundredChannels"}
    digits = Builder(config, None).dataset()
    facts = replace(digits.facts, image_shape=(3, 8, 8))
    model = Builder(config, None).model(facts)
    x = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    trace = model(x, model.noise(2, 2, torch.Generator().manual_seed(0)))
    assert model.decode(torch.zeros(2, 3)).shape == (2, 100, 8, 8)
    assert trace.log_px.shape == (2, 2)
    assert model.reconstruct(x).shape == x.shape
    assert isinstance(trace.latents[0].p, StandardNormal)


def test_a_whole_model_refuses_what_it_would_ignore(setup_of):
    _, config = setup_of("ladder")
    config["prior"] = {"_target_": f"{HERE}.mixture.MixturePrior"}
    with pytest.raises(UserError, match="whole model, which has its own prior"):
        Builder(config, None).setup()
    with pytest.raises(UserError, match="does not take bfloat16"):
        setup_of("ladder", "trainer.precision=bfloat16")


def test_labels_that_are_not_there_are_refused_at_start(setup_of, monkeypatch):
    monkeypatch.setattr("vaelab.dataset.images.Dataset.num_classes", 7)
    with pytest.raises(UserError, match="labels of digits must be from 0 to 6, got 0 to 9"):
        setup_of("labels")


def test_a_loss_of_the_model_has_a_name_of_its_own(setup_of, monkeypatch):
    named = points.PointPosterior.forward
    monkeypatch.setattr(
        points.PointPosterior, "forward", lambda self, h: replace(named(self, h), losses={"kl": torch.zeros(())})
    )
    with pytest.raises(UserError, match="a loss of the model may not be named kl"):
        setup_of("rae")

"""Evaluation against closed forms: means over images, bits per dimension."""

import math
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from types import MappingProxyType

import pytest
import torch
from torch import nn

from helpers.combinations import levels, vae_of
from helpers.fakes import labelled_vae
from helpers.linear_gaussian import IMAGE_SHAPE, linear_gaussian_vae, log_marginal
from vaelab.dataset.images import Dataset, Split
from vaelab.evaluation.evaluator import evaluate
from vaelab.machine.ranks import SINGLE, Ranks
from vaelab.objective.elbo import ELBO
from vaelab.ops import unit_interval
from vaelab.parts import MASS

IMAGES = Split(levels(7, *IMAGE_SHAPE))
DIGIT_LIKE = Split(levels(7, 1, 8, 8))


def pixels(binarize="none"):
    """A dataset that says what its pixels are and has no images to read."""
    return Dataset("pixels", read=None, val_size=0, binarize=binarize)


class UniformLikelihood(nn.Module):
    """Every level of every pixel has the mass 1/256."""

    pixels = MappingProxyType({"levels": MASS})

    def log_prob(self, params, x):
        return torch.full(params.shape[:2], -x[0].numel() * math.log(256))


def elbo(samples=1, beta=1.0, warmup_steps=0):
    return ELBO(beta, warmup_steps, samples)


def mean_log_marginal(vae):
    return log_marginal(vae, unit_interval(IMAGES.images)).mean().item()


@pytest.mark.parametrize("binarize", ["none", "dynamic"])
def test_evaluating_twice_gives_the_same_values(binarize):
    vae = vae_of()
    torch.manual_seed(1)
    first = evaluate(vae, elbo(), pixels(binarize), DIGIT_LIKE, batch_size=3)
    torch.manual_seed(2)
    assert evaluate(vae, elbo(), pixels(binarize), DIGIT_LIKE, batch_size=3) == first


@pytest.mark.parametrize(("binarize", "is_binary"), [("none", False), ("dynamic", True)])
def test_the_model_sees_the_pixels_that_the_dataset_names(binarize, is_binary):
    seen, vae = [], vae_of()
    vae.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
    evaluate(vae, elbo(), pixels(binarize), DIGIT_LIKE, batch_size=7)
    assert len(seen) == 1
    assert all((x.unique().tolist() == [0, 1]) == is_binary for x in seen)
    assert is_binary or all(torch.equal(x, unit_interval(DIGIT_LIKE.images)) for x in seen)


@pytest.mark.parametrize("batch_size", [1, 3, 5, 7, 100])
def test_every_image_counts_the_same_whatever_the_batch_size(batch_size):
    vae = linear_gaussian_vae(variance_factor=1e-12)  # without noise to speak of, the values must agree
    expected = evaluate(vae, elbo(), pixels(), IMAGES, batch_size=7)
    assert evaluate(vae, elbo(), pixels(), IMAGES, batch_size) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("batch_size", [1, 5, 7])
def test_the_elbo_of_the_exact_posterior_is_the_log_marginal_up_to_noise(batch_size):
    vae = linear_gaussian_vae()
    values = evaluate(vae, elbo(samples=2000), pixels(), IMAGES, batch_size)
    assert values["elbo"] == pytest.approx(mean_log_marginal(vae), abs=0.05)


def test_the_elbo_is_the_reconstruction_without_the_kl_and_the_loss_is_weighted_as_after_the_warm_up():
    values = evaluate(vae_of(), elbo(beta=4.0, warmup_steps=1000), pixels(), DIGIT_LIKE, batch_size=3)
    assert values["elbo"] == pytest.approx(values["reconstruction"] - values["kl"])
    assert values["loss"] == pytest.approx(4 * values["kl"] - values["reconstruction"])
    assert values["kl"] > 0


@pytest.mark.parametrize(
    ("likelihood", "binarize", "is_mass"),
    [
        ("bernoulli", "dynamic", True),
        ("bernoulli", "static", True),
        ("bernoulli", "none", False),
        ("gaussian", "none", False),
        ("logistic", "none", True),
    ],
)
def test_bits_per_dim_is_there_only_for_a_probability_mass(likelihood, binarize, is_mass):
    black_or_white = Split((DIGIT_LIKE.images > 127) * torch.tensor(255, dtype=torch.uint8))
    split = black_or_white if binarize == "static" else DIGIT_LIKE
    values = evaluate(vae_of(likelihood=likelihood), elbo(), pixels(binarize), split, batch_size=3)
    assert values.get("bits_per_dim") == (pytest.approx(-values["elbo"] / (64 * math.log(2))) if is_mass else None)


def test_a_uniform_model_of_256_levels_takes_8_bits_per_dim():
    vae = vae_of()
    nn.init.zeros_(vae.posterior.heads.weight)  # the posterior is the prior: no KL
    nn.init.zeros_(vae.posterior.heads.bias)
    vae.likelihood = UniformLikelihood()
    values = evaluate(vae, elbo(), pixels(), DIGIT_LIKE, batch_size=3)
    assert values["bits_per_dim"] == pytest.approx(8)
    assert values["kl"] == 0


@pytest.mark.parametrize(("batch_size", "calls"), [(3, 3), (7, 1), (1, 7)])
def test_there_is_a_chance_to_interrupt_before_every_batch(batch_size, calls):
    counted = []
    evaluate(linear_gaussian_vae(), elbo(), pixels(), IMAGES, batch_size, lambda: counted.append(None))
    assert len(counted) == calls


def test_an_interruption_passes_through():
    def interrupt():
        raise InterruptedError

    with pytest.raises(InterruptedError):
        evaluate(linear_gaussian_vae(), elbo(), pixels(), IMAGES, 3, interrupt)


def test_evaluation_leaves_no_gradient():
    vae = vae_of()
    evaluate(vae, elbo(), pixels(), DIGIT_LIKE, batch_size=3)
    assert all(parameter.grad is None for parameter in vae.parameters())


class Threads(Ranks):
    """Ranks that are threads of this process; their store is a dictionary and a barrier."""

    def all_gather(self, value):
        values, barrier = self.store
        values[self.rank] = value
        barrier.wait(timeout=10)
        return [values[rank] for rank in range(self.size)]


@pytest.mark.parametrize("size", [2, 3, 5])
def test_any_number_of_ranks_finds_the_same_figures_to_the_last_digit(size):
    vae, images, store = vae_of(), Split(levels(700, 1, 8, 8)), ({}, Barrier(size))

    def found(ranks):
        return evaluate(vae, elbo(), pixels("dynamic"), images, 9, ranks=ranks)

    # a new thread of Python's would compute with torch's default of threads, and so round otherwise
    with ThreadPoolExecutor(size, initializer=lambda: torch.set_num_threads(1)) as pool:
        shared = list(pool.map(found, [Threads(rank, size, store=store) for rank in range(size)]))
    assert shared == [found(SINGLE)] * size


def test_images_and_noise_go_where_the_model_is():
    seen, vae = [], vae_of().to("meta")  # the only device besides the CPU that is everywhere; it has no numbers
    vae.register_forward_pre_hook(lambda module, arguments: seen.extend(arguments[:2]))
    with pytest.raises((RuntimeError, NotImplementedError)):
        evaluate(vae, elbo(), pixels("dynamic"), DIGIT_LIKE, batch_size=7)
    assert [value.device.type for value in seen] == ["meta"] * 2


def test_labels_go_with_their_images():
    labels = torch.tensor([3, 0, 2, 1, 2, 0, 1], dtype=torch.uint8)
    split, vae, seen = Split(DIGIT_LIKE.images, labels), labelled_vae(), []
    vae.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[2]))
    evaluate(vae, elbo(), pixels(), split, batch_size=3)
    assert torch.equal(torch.cat(seen), labels.long())


class Point:
    """q(z|x) of all mass at one z, which has no density."""

    def __init__(self, z):
        self.z = z

    def draw(self, eps):
        return self.z.expand(eps.shape), None

    def kl(self, other):
        return None


class AsPoint(nn.Module):
    def forward(self, h):
        return Point(h[:, :5])


class SumOfSquares:
    """An objective with a term of its own, for a model without an ELBO."""

    samples = 1

    def __call__(self, model, x, noise, step=None, y=None):
        trace = model(x, noise, y)
        size = trace.latents[0].z.square().sum(-1).mean()
        return size - trace.log_px.mean(), trace, {"size": size}


def test_without_a_density_there_is_no_elbo_and_an_objectives_own_terms_are_there():
    vae = vae_of()
    vae.posterior = AsPoint()
    values = evaluate(vae, SumOfSquares(), pixels("dynamic"), DIGIT_LIKE, batch_size=3)
    assert values.keys() == {"loss", "reconstruction", "size"}
    assert values["loss"] == pytest.approx(values["size"] - values["reconstruction"])

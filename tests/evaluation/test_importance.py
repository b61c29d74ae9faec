"""The importance-weighted bound: it reaches log p(x) where that is known, however its samples are cut into chunks."""

import math

import pytest
import torch

from helpers.combinations import levels, normals, vae_of
from helpers.fakes import labelled_vae, small_vae
from helpers.ladders import small_ladder
from helpers.linear_gaussian import IMAGE_SHAPE, linear_gaussian_vae, log_marginal
from vaelab.dataset.images import Dataset, Split
from vaelab.errors import UserError
from vaelab.evaluation.evaluator import evaluate
from vaelab.evaluation.importance import log_bernoulli, log_likelihood
from vaelab.evaluation.subject import mean_and_error
from vaelab.likelihood.bernoulli import BernoulliLikelihood
from vaelab.objective.elbo import ELBO
from vaelab.ops import unit_interval
from vaelab.vae import VAE

IMAGES = Split(levels(7, *IMAGE_SHAPE))
DIGIT_LIKE = Split(levels(7, 1, 8, 8))


def pixels(binarize="none"):
    """A dataset that says what its pixels are and has no images to read."""
    return Dataset("pixels", read=None, val_size=0, binarize=binarize)


def exact(vae, images=IMAGES):
    return log_marginal(vae, unit_interval(images.images))


@pytest.mark.parametrize("batch_size", [1, 3, 7])
@pytest.mark.parametrize(("samples", "at_once"), [(1, 64), (7, 16), (60, 48)])
def test_with_the_exact_posterior_any_number_of_samples_gives_the_log_marginal_of_each_image(
    samples, at_once, batch_size
):
    vae = linear_gaussian_vae()
    bounds = log_likelihood(vae, pixels(), IMAGES, samples, batch_size, at_once=at_once)
    assert torch.allclose(bounds.float(), exact(vae), atol=1e-3)


def test_the_bound_rises_to_the_log_marginal():
    vae = linear_gaussian_vae(mean_shift=0.5, variance_factor=2.0)
    images = Split(IMAGES.images.repeat(200, 1, 1, 1))  # each with its own noise
    bounds = [log_likelihood(vae, pixels(), images, k, 700).mean().item() for k in (1, 5, 50, 1000)]
    log_p = exact(vae).mean().item()
    assert bounds == sorted(bounds)
    assert bounds[0] < log_p - 0.5
    assert bounds[-1] == pytest.approx(log_p, abs=0.02)
    assert bounds[-1] > evaluate(vae, ELBO(1.0, 0, 100), pixels(), IMAGES, 7)["elbo"]


@pytest.mark.parametrize("likelihood", ["bernoulli", "logistic"])
def test_chunks_give_what_one_chunk_gives(likelihood):
    vae, dataset = vae_of(likelihood=likelihood), pixels("dynamic" if likelihood == "bernoulli" else "none")
    whole = log_likelihood(vae, dataset, DIGIT_LIKE, 600, 3, at_once=8192)
    for at_once in (16, 300, 512):
        assert torch.allclose(log_likelihood(vae, dataset, DIGIT_LIKE, 600, 3, at_once=at_once), whole, atol=1e-5)


@pytest.mark.parametrize("make", [small_ladder, lambda: small_vae(latent_dim=2)])
def test_a_ladder_and_few_latents_have_the_same_noise_however_many_samples_are_decoded_at_once(make):
    model = make().eval()
    on_cpu, on_gpu = (log_likelihood(model, pixels(), DIGIT_LIKE, 257, 3, at_once=size) for size in (256, 32_768))
    assert torch.allclose(on_cpu, on_gpu, atol=1e-5)


def test_sums_of_bernoulli_pixels_are_those_of_the_likelihood():
    logits, likelihood = 8 * normals(5, 3, 1, 28, 28), BernoulliLikelihood((1, 28, 28), centred=False)
    logits[0, 0] = 60.0  # where a product of 784 factors, or exp, would leave float32
    logits[0, 1] = -60.0
    logits[0, 2] = 0.0
    for x in (levels(3, 1, 28, 28).gt(127).float(), unit_interval(levels(3, 1, 28, 28))):
        expected = likelihood.log_prob(logits.double(), x.double())
        for images in (slice(0, 1), slice(0, 3)):
            found = log_bernoulli(logits[:, images].flatten(2), x[images].flatten(1))
            assert torch.allclose(found.double(), expected[:, images], rtol=1e-6, atol=2e-3)


class OtherBernoulli(BernoulliLikelihood):
    """The same density, of which the bound does not know."""


def test_the_fast_sums_give_the_bound_that_the_trace_gives():
    vae = vae_of()
    vae.likelihood = BernoulliLikelihood((1, 8, 8), centred=True)
    vae.likelihood.start(levels(9, 1, 8, 8))
    fast = log_likelihood(vae, pixels("dynamic"), DIGIT_LIKE, 40, 3)
    other = OtherBernoulli((1, 8, 8), centred=True)
    other.load_state_dict(vae.likelihood.state_dict())
    vae.likelihood = other
    assert torch.allclose(log_likelihood(vae, pixels("dynamic"), DIGIT_LIKE, 40, 3), fast, atol=1e-4)


def test_the_seed_alone_decides_and_every_image_has_noise_of_its_own():
    vae, same = vae_of(), Split(DIGIT_LIKE.images[:1].repeat(40, 1, 1, 1))
    bounds = log_likelihood(vae, pixels(), same, 3, batch_size=25, seed=1)
    assert len(bounds.unique()) == 40
    torch.manual_seed(5)
    assert torch.equal(log_likelihood(vae, pixels(), same, 3, batch_size=25, seed=1), bounds)
    assert not torch.equal(log_likelihood(vae, pixels(), same, 3, batch_size=25, seed=2), bounds)


def test_the_number_of_threads_changes_nothing_but_the_time():
    vae, before = vae_of(), torch.get_num_threads()
    found = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(log_likelihood(vae, pixels(), DIGIT_LIKE, 600, 4))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert torch.allclose(*found, atol=1e-5)


def test_images_are_encoded_once_and_counted():
    vae, encoded, done = vae_of(), [], []
    vae.encoder.register_forward_hook(lambda module, given, h: encoded.append(len(h)))
    log_likelihood(vae, pixels(), DIGIT_LIKE, 1000, 7, at_once=16, advance=done.append)
    assert sum(encoded) == sum(done) == 7


def test_labels_go_with_their_images():
    labels = torch.tensor([3, 0, 2, 1, 2, 0, 1], dtype=torch.uint8)
    vae, seen = labelled_vae(), []
    vae.decoder.register_forward_pre_hook(lambda module, given: seen.append(given[1]))
    log_likelihood(vae, pixels(), Split(DIGIT_LIKE.images, labels), 300, 3, at_once=512)
    assert torch.equal(torch.cat(seen), labels.long().repeat_interleave(300))
    assert all(parameter.grad is None for parameter in vae.parameters())


def test_a_posterior_without_a_density_is_refused():
    vae = vae_of()

    class Point:
        def draw(self, eps):
            return eps, None

    vae.infer = lambda x, y: Point()
    assert isinstance(vae, VAE)
    with pytest.raises(UserError, match="Point has no density"):
        log_likelihood(vae, pixels(), DIGIT_LIKE, 3, 3)


def test_the_standard_error_is_that_of_the_mean():
    draws = normals(400, 50).double() * 3 + 1
    means, errors = zip(*(mean_and_error(row) for row in draws), strict=True)
    assert torch.tensor(errors).mean() == pytest.approx(3 / 50**0.5, rel=0.03)
    assert torch.tensor(means).std() == pytest.approx(3 / 50**0.5, rel=0.1)
    assert mean_and_error(torch.ones(1)) == (1.0, pytest.approx(math.nan, nan_ok=True))

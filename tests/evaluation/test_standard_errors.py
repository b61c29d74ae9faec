"""Standard errors over images are those of the images' own values, however the images come in batches."""

import math

import pytest
import torch

from helpers.combinations import levels, vae_of
from vaelab.dataset.images import Dataset, Split
from vaelab.evaluation.evaluator import batches, evaluate
from vaelab.evaluation.standard_errors import KeepingObjective, compares_images
from vaelab.likelihood.gaussian import GaussianLikelihood
from vaelab.objective.elbo import ELBO
from vaelab.parts import MASS

IMAGES = Split(levels(7, 1, 8, 8))
BINARY = Dataset("pixels", read=None, val_size=0, binarize="dynamic")
SAMPLES = 3


def by_hand(vae, batch_size):
    """ELBO and terms of each image, in plain Python, one image at a time."""
    values = {"elbo": [], "reconstruction": [], "kl": []}
    for _, (x, _, generator) in batches(vae, BINARY, IMAGES, batch_size):
        trace = vae(x, vae.noise(SAMPLES, len(x), generator))
        for image in range(len(x)):
            reconstruction = sum(log_px.item() for log_px in trace.log_px[:, image]) / SAMPLES
            kl = trace.kl[image].item()
            for name, value in (("elbo", reconstruction - kl), ("reconstruction", reconstruction), ("kl", kl)):
                values[name].append(value)
    return values


@torch.no_grad()
@pytest.mark.parametrize("batch_size", [3, 7])
def test_they_are_those_of_the_images_and_no_metric_is_changed(batch_size):
    vae = vae_of(likelihood="bernoulli")
    keeping = KeepingObjective(ELBO(4.0, 0, SAMPLES))
    metrics = evaluate(vae, keeping, BINARY, IMAGES, batch_size)
    assert metrics == evaluate(vae, ELBO(4.0, 0, SAMPLES), BINARY, IMAGES, batch_size)
    found = keeping.errors(metrics, 64)
    assert found.keys() == {"elbo", "reconstruction", "kl", "bits_per_dim"}
    assert vae.likelihood.pixels["binary"] == MASS
    for name, values in by_hand(vae, batch_size).items():
        mean = sum(values) / 7
        assert metrics[name] == pytest.approx(mean, rel=1e-5)
        variance = sum((value - mean) ** 2 for value in values) / 6
        assert found[name] == pytest.approx(math.sqrt(variance / 7), rel=1e-9)
    assert found["bits_per_dim"] == pytest.approx(found["elbo"] / (64 * math.log(2)))


@torch.no_grad()
def test_one_image_tells_none():
    vae, keeping = vae_of(likelihood="bernoulli"), KeepingObjective(ELBO(1.0, 0, 1))
    metrics = evaluate(vae, keeping, BINARY, Split(IMAGES.images[:1]), 7)
    assert all(math.isnan(error) for error in keeping.errors(metrics, 64).values())


def test_a_part_that_compares_the_images_of_a_batch_is_found():
    vae = vae_of()
    assert not compares_images(vae)
    vae.likelihood = GaussianLikelihood("optimal")
    assert compares_images(vae)

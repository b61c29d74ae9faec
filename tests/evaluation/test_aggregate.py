"""The aggregate posterior of Gaussians whose mutual information, marginal KL and total correlation are known."""

import math
from dataclasses import dataclass

import pytest
import torch
from torch.distributions import MultivariateNormal

from helpers.combinations import normals
from helpers.fakes import labelled_vae
from helpers.subjects import split_of, subject_of, transparent_vae
from vaelab.distributions import Normal, StandardNormal
from vaelab.evaluation.aggregate import aggregate, densities, terms
from vaelab.evaluation.subject import LeftOutError

IMAGES = 4000
VARIANCE = 0.3


def posteriors(covariance, variance=VARIANCE):
    """Batches of q(z|x) = N(m, variance I), the means m of that covariance: q(z) is N(0, covariance + variance I)."""
    means = normals(IMAGES, len(covariance)) @ torch.linalg.cholesky(covariance).T
    return [Normal(part, torch.full_like(part, math.log(variance))) for part in means.split(1000)]


def measured(batches, prior=None):
    cpu = torch.device("cpu")
    return terms(densities(batches, [1000] * 4, prior or StandardNormal(), 2, 0, cpu), "")


@pytest.mark.parametrize("correlation", [0.0, 0.6])
def test_gaussians_have_the_information_and_the_correlation_that_theory_says(correlation):
    covariance = torch.tensor([[1.2, correlation], [correlation, 0.7]])
    whole = covariance + VARIANCE * torch.eye(2)
    marginal = MultivariateNormal(torch.zeros(2), whole)
    standard = MultivariateNormal(torch.zeros(2), torch.eye(2))
    found = measured(posteriors(covariance))
    expected = {
        "mutual_information": 0.5 * (whole.logdet() - 2 * math.log(VARIANCE)),
        "marginal_kl": torch.distributions.kl_divergence(marginal, standard),
        "total_correlation": 0.5 * (whole.diagonal().log().sum() - whole.logdet()),
        "dimension_wise_kl": 0.5 * (whole.diagonal() - 1 - whole.diagonal().log()).sum(),
    }
    for name, value in expected.items():
        assert found.metrics[name] == pytest.approx(value.item(), abs=4 * found.errors[name] + 0.02), name
    assert max(found.errors.values()) < 0.06


def test_the_terms_add_up_to_the_kl():
    batches = posteriors(torch.tensor([[1.2, 0.5], [0.5, 0.7]]))
    found = measured(batches).metrics
    kl = torch.cat([q.kl(StandardNormal()).sum(-1) for q in batches]).mean().item()
    three = found["mutual_information"] + found["total_correlation"] + found["dimension_wise_kl"]
    assert three == pytest.approx(kl, abs=0.1)
    assert found["marginal_kl"] == pytest.approx(found["total_correlation"] + found["dimension_wise_kl"], abs=1e-4)


def test_posteriors_that_do_not_overlap_tell_which_image_it_is_and_equal_ones_nothing():
    apart = posteriors(1e8 * torch.eye(2), variance=1e-2)
    assert measured(apart).metrics["mutual_information"] == pytest.approx(math.log(IMAGES), abs=1e-3)
    equal = posteriors(1e-12 * torch.eye(2), variance=1.0)
    assert all(abs(value) < 1e-3 for value in measured(equal).metrics.values())


@dataclass(frozen=True)
class Whole:
    """A normal density that does not say its factors."""

    inner: Normal

    def draw(self, eps):
        return self.inner.draw(eps)

    def log_prob(self, z):
        return self.inner.log_prob(z)


def test_without_factors_the_information_and_the_marginal_kl_are_left():
    batches = posteriors(torch.tensor([[1.2, 0.5], [0.5, 0.7]]))
    found, left = measured(batches).metrics, measured([Whole(q) for q in batches])
    whole = left.metrics
    assert left.left_out.keys() == {"total_correlation", "dimension_wise_kl"}
    assert whole.keys() == {"mutual_information", "marginal_kl"}
    assert all(whole[name] == pytest.approx(found[name], abs=1e-4) for name in whole)
    other = measured(batches, Whole(Normal(torch.zeros(2), torch.zeros(2))))
    assert other.left_out.keys() == {"dimension_wise_kl"}
    assert other.metrics.keys() == {"mutual_information", "marginal_kl", "total_correlation"}


def test_a_model_is_measured_at_all_its_images_and_the_seed_decides():
    rows = split_of(normals(130, 3))
    first, again, other = (aggregate(subject_of(transparent_vae(3), rows, seed=seed)) for seed in (0, 0, 1))
    assert first == again
    assert first.metrics != other.metrics
    assert first.setting == "q(z) of 130 images at 130 draws"
    assert first.metrics["mutual_information"] < math.log(130)


def test_what_has_no_such_density_is_left_out_with_the_reason():
    rows = split_of(normals(10, 64))
    with pytest.raises(LeftOutError, match="without labels"):
        aggregate(subject_of(labelled_vae(), rows))

    class Point:
        def draw(self, eps):
            return eps, None

    class Odd:
        def draw(self, eps):
            return eps, eps.sum(-1)

        def log_prob(self, z):
            raise RuntimeError("the size of tensor a must match")

    class Full(Odd):
        def log_prob(self, z):
            raise torch.OutOfMemoryError("CUDA out of memory")

    vae = transparent_vae(64)
    vae.infer = lambda x: Full()
    with pytest.raises(torch.OutOfMemoryError):
        aggregate(subject_of(vae, rows))

    for q, said in ((Point(), "needs a density, which Point has not"), (Odd(), "any z .the size of tensor")):
        vae = transparent_vae(64)
        vae.infer = lambda x, q=q: q
        with pytest.raises(LeftOutError, match=said):
            aggregate(subject_of(vae, rows))

"""The three parts of the KL, and the estimates of the aggregate posterior, against all images at once."""

import itertools
import math

import pytest
import torch

from helpers.combinations import normals
from helpers.estimators import IMAGES, X, ladder_and_noise, noise_of
from helpers.linear_gaussian import linear_gaussian_vae
from vaelab.distributions import Normal, StandardNormal
from vaelab.errors import UserError
from vaelab.objective.tc import ESTIMATORS, TotalCorrelation
from vaelab.parts import Latent

N = 5
MEANS, LOG_VARS = normals(N, 2), normals(N, 2, seed=1) - 1


def tc(estimator, train_size=N, alpha=1.0, beta=1.0, gamma=1.0):
    return TotalCorrelation(train_size, alpha, beta, gamma, estimator)


def latent_of(images, z):
    """That of a batch of these images of the data set, with z (B, D) drawn."""
    q = Normal(MEANS[list(images)], LOG_VARS[list(images)])
    return Latent(z.unsqueeze(0), q.log_prob(z).unsqueeze(0), q, StandardNormal())


def aggregate(z):
    """q(z) over the whole data set, and the product of its marginals, of one z (D,)."""
    factors = Normal(MEANS, LOG_VARS).factors(z).exp()  # (N, D)
    return factors.prod(-1).mean(), factors.mean(0).prod()


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("train_size", [IMAGES, 1000])
def test_the_parts_add_up_to_the_kl_and_with_weights_of_1_the_loss_to_minus_the_elbo(estimator, train_size):
    vae, objective = linear_gaussian_vae(mean_shift=0.3), tc(estimator, train_size)
    loss, trace, terms = objective(vae, X, noise_of(objective, vae))
    (latent,) = trace.latents
    kl = (latent.log_q - latent.log_p).mean()
    torch.testing.assert_close(sum(terms.values()), kl, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(loss, -trace.log_w.mean(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_each_part_has_its_weight(estimator):
    vae, objective = linear_gaussian_vae(mean_shift=0.3), tc(estimator, 10, alpha=2.0, beta=30.0, gamma=0.5)
    loss, trace, terms = objective(vae, X, noise_of(objective, vae))
    parts = [terms[name] for name in ("batch_mutual_information", "batch_total_correlation", "batch_dimension_kl")]
    expected = 2 * parts[0] + 30 * parts[1] + 0.5 * parts[2] - trace.log_px.mean()
    torch.testing.assert_close(loss, expected)
    assert len({round(part.item(), 4) for part in parts}) == 3


def test_on_the_whole_data_set_stratified_is_exact():
    z = normals(N, 2, seed=2)
    log_q_z, log_q_dims = tc("stratified").log_aggregate(latent_of(range(N), z))
    expected = [torch.stack(each) for each in zip(*map(aggregate, z), strict=True)]
    torch.testing.assert_close(log_q_z.exp(), expected[0])
    torch.testing.assert_close(log_q_dims.exp(), expected[1])


@pytest.mark.parametrize("batch", [2, 3])
def test_over_all_batches_stratified_has_the_mean_of_the_aggregate_and_weighted_has_not(batch):
    own, z = 0, normals(2, seed=3)
    expected, _ = aggregate(z)
    batches = [(own, *others) for others in itertools.combinations(range(1, N), batch - 1)]
    found = {
        estimator: torch.stack(
            [tc(estimator).log_aggregate(latent_of(images, z.expand(batch, 2)))[0][0].exp() for images in batches]
        )
        for estimator in ESTIMATORS
    }
    torch.testing.assert_close(found["stratified"].mean(), expected)
    assert found["stratified"].std() > 0
    assert abs(found["weighted"].mean() - expected) > 0.1 * expected


def test_weighted_gives_each_image_1_over_nb():
    z = normals(3, 2, seed=2)
    log_q_z, log_q_dims = tc("weighted", train_size=100).log_aggregate(latent_of(range(3), z))
    densities = Normal(MEANS[:3], LOG_VARS[:3]).factors(z.unsqueeze(1)).exp()
    torch.testing.assert_close(log_q_z, densities.prod(-1).sum(1).log() - math.log(300))
    torch.testing.assert_close(log_q_dims, (densities.sum(1).log() - math.log(300)).sum(-1))


def test_the_total_correlation_of_correlated_latents_is_that_of_their_normal():
    # q(z) of many narrow posteriors along a line is nearly the normal that their means are of
    rho, images = 0.9, 1000
    mean = normals(images, 2) @ torch.tensor([[1.0, rho], [0.0, math.sqrt(1 - rho**2)]])
    q = Normal(mean, torch.full_like(mean, math.log(0.01)))
    z, log_q = q.draw(normals(1, images, 2, seed=1))
    terms = tc("stratified", train_size=images).parts_of_kl(Latent(z, log_q, q, StandardNormal()))
    covariance = torch.cov(z[0].T)
    expected = -0.5 * math.log(1 - (covariance[0, 1] ** 2 / covariance[0, 0] / covariance[1, 1]).item())
    assert terms["batch_total_correlation"].item() == pytest.approx(expected, abs=0.15)
    assert abs(terms["batch_dimension_kl"].item()) < 0.15


def test_a_posterior_that_does_not_factorise_and_a_ladder_are_refused_with_a_sentence():
    class Whole:
        """A density without factors."""

    objective = tc("weighted")
    z = normals(1, 3, 2)
    with pytest.raises(UserError, match="a posterior that factorises over the dimensions, which Whole does not"):
        objective.parts_of_kl(Latent(z, z.sum(-1), Whole(), StandardNormal()))
    ladder, noise = ladder_and_noise()
    with pytest.raises(UserError, match="the total correlation needs a model with one group of latents, got 2 groups"):
        objective(ladder, torch.ones(4, 1, 8, 8), noise)


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"alpha": -1}, "alpha must be a finite number of at least 0, got -1"),
        ({"beta": math.nan}, "beta must be a finite number of at least 0, got nan"),
        ({"gamma": "6"}, "gamma must be a finite number of at least 0, got '6'"),
        ({"estimator": "mss"}, "estimator must be one of weighted, stratified, got 'mss'"),
    ],
)
def test_a_setting_out_of_range_is_refused_with_a_sentence(setting, sentence):
    with pytest.raises(ValueError, match=sentence):
        tc(**{"estimator": "weighted", **setting})

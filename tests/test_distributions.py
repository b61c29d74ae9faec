"""The distributions: densities that are ones, samples that have them, and KL divergences of pairs."""

import math

import pytest
import torch

from helpers.combinations import normals
from vaelab.distributions import Normal, StandardNormal

K, B, D = 5, 4, 3


def normal(*shape, seed=0):
    """A normal density whose means and variances are far from 0 and 1."""
    return Normal(2 * normals(*shape, seed=seed), 1.5 * normals(*shape, seed=seed + 1))


# Each of two dimensions, with bounds beyond which there is nothing.
PLANES = {
    "normal": (Normal(torch.tensor([0.5, -1.0]), torch.tensor([-1.0, 1.0])), 12),
    "standard normal": (StandardNormal(), 8),
}
ANY = {"normal": normal(B, D), "normal of each sample": normal(K, B, D), "standard normal": StandardNormal()}
planes = pytest.mark.parametrize(("p", "bound"), PLANES.values(), ids=PLANES)
any_of_them = pytest.mark.parametrize("p", ANY.values(), ids=ANY)


@planes
def test_the_density_integrates_to_one(p, bound):
    steps = torch.linspace(-bound, bound, 601)
    area = (steps[1] - steps[0]) ** 2
    assert (p.log_prob(torch.cartesian_prod(steps, steps)).exp().sum() * area).item() == pytest.approx(1, abs=1e-4)


@planes
@pytest.mark.parametrize("dimension", [0, 1])
def test_samples_have_the_density(p, bound, dimension):
    """The test of Kolmogorov and Smirnov, at 1%, of a marginal, whose distribution is the integral of its factor."""
    count, steps = 20_000, torch.linspace(-bound, bound, 4001)
    z, _ = p.draw(normals(count, 2))
    cdf = p.factors(steps[:, None].expand(-1, 2))[:, dimension].exp().cumsum(0) * (steps[1] - steps[0])
    below = torch.searchsorted(z[:, dimension].sort().values, steps) / count
    assert (below - cdf).abs().max() < 1.63 / count**0.5


@any_of_them
def test_the_log_prob_of_a_draw_is_that_of_its_samples(p):
    z, log_prob = p.draw(normals(K, B, D, seed=7))
    assert (z.shape, log_prob.shape) == ((K, B, D), (K, B))
    torch.testing.assert_close(log_prob, p.log_prob(z))


@any_of_them
def test_the_factors_are_those_of_torch_and_sum_to_the_log_prob(p):
    z = normals(K, B, D, seed=7)
    mean, log_var = (torch.zeros(()),) * 2 if isinstance(p, StandardNormal) else (p.mean, p.log_var)
    torch.testing.assert_close(p.factors(z), torch.distributions.Normal(mean, (log_var / 2).exp()).log_prob(z))
    torch.testing.assert_close(p.log_prob(z), p.factors(z).sum(-1))


def test_zero_noise_is_the_mean_and_one_a_standard_deviation_from_it():
    p = normal(B, D)
    assert torch.equal(p.draw(torch.zeros(1, B, D))[0][0], p.mean)
    torch.testing.assert_close(p.draw(torch.ones(1, B, D))[0][0], p.mean + p.log_var.exp().sqrt())


def test_each_image_has_its_own_parameters():
    p, eps = normal(B, D), normals(K, B, D, seed=7)
    one = Normal(p.mean[1:2], p.log_var[1:2])
    for whole, part in zip(p.draw(eps), one.draw(eps[:, 1:2]), strict=True):
        torch.testing.assert_close(whole[:, 1:2], part)


OTHERS = {"standard normal": StandardNormal(), "normal": normal(B, D, seed=3), "one for all": normal(D, seed=4)}


@pytest.mark.parametrize("p", OTHERS.values(), ids=OTHERS)
def test_the_closed_kl_is_the_mean_over_samples_of_the_difference_of_the_logs(p):
    q = normal(B, D)
    z, log_q = q.draw(normals(50_000, B, D, seed=7))
    difference = log_q - p.log_prob(z)  # (K, B)
    error = 5 * difference.std(0) / len(difference) ** 0.5
    assert q.kl(p).shape == (B, D)
    assert ((difference.mean(0) - q.kl(p).sum(-1)).abs() < error).all()


def test_the_kl_to_a_standard_normal_is_that_to_a_normal_with_mean_0_and_variance_1():
    q = normal(B, D)
    torch.testing.assert_close(q.kl(StandardNormal()), q.kl(Normal(torch.zeros(D), torch.zeros(D))))


def test_the_kl_is_zero_only_to_itself():
    q = normal(B, D)
    assert (q.kl(q) == 0).all()
    assert (Normal(torch.zeros(B, D), torch.zeros(B, D)).kl(StandardNormal()) == 0).all()
    for p in OTHERS.values():
        assert (q.kl(p) > 0).all()


def test_no_closed_kl_is_made_up_for_an_unknown_pair():
    assert normal(B, D).kl(object()) is None
    assert StandardNormal().kl(normal(B, D)) is None


def test_gradients_reach_mean_and_variance_through_samples_density_and_kl():
    mean, log_var = normals(B, D).requires_grad_(), normals(B, D, seed=1).requires_grad_()
    q = Normal(mean, log_var)
    z, log_q = q.draw(normals(K, B, D, seed=7))
    for value in (z.square(), q.log_prob(z.detach()), q.kl(StandardNormal())):
        gradients = torch.autograd.grad(value.sum(), (mean, log_var), retain_graph=True)
        assert all((gradient != 0).all() for gradient in gradients)
    torch.testing.assert_close(torch.autograd.grad(log_q.sum(), log_var)[0], torch.full((B, D), -0.5 * K))


def test_a_detached_density_is_the_same_with_a_gradient_to_z_alone():
    mean, log_var = normals(B, D).requires_grad_(), normals(B, D, seed=1).requires_grad_()
    q, z = Normal(mean, log_var), normals(K, B, D, seed=7).requires_grad_()
    log_prob = q.detached().log_prob(z)
    assert torch.equal(log_prob, q.log_prob(z))
    log_prob.sum().backward()
    torch.testing.assert_close(z.grad, ((mean - z) * torch.exp(-log_var)).detach())
    assert mean.grad is log_var.grad is None
    assert not q.detached().draw(normals(K, B, D))[0].requires_grad
    assert StandardNormal().detached() == StandardNormal()


def test_densities_far_out_are_finite():
    p = Normal(torch.zeros(1), torch.tensor([-40.0]))
    assert p.log_prob(torch.tensor([1e-3])).isfinite()
    assert StandardNormal().log_prob(torch.tensor([1e4])).item() == pytest.approx(-5e7 - 0.5 * math.log(2 * math.pi))

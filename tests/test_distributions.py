"""The distributions: densities that are ones, samples that have them, and KL divergences of pairs."""

import math

import pytest
import torch

from helpers.combinations import normals
from vaelab.distributions import Mixture, MultivariateNormal, Normal, StandardNormal

K, B, D = 5, 4, 3


def normal(*shape, seed=0):
    """A normal density whose means and variances are far from 0 and 1."""
    return Normal(2 * normals(*shape, seed=seed), 1.5 * normals(*shape, seed=seed + 1))


def multivariate(*shape, seed=0):
    """A normal density of any covariance."""
    below = normals(*shape, shape[-1], seed=seed).tril(-1)
    return MultivariateNormal(normals(*shape, seed=seed + 1), below + torch.diag_embed(normals(*shape).abs() + 0.3))


# Each of two dimensions, with bounds beyond which there is nothing.
PLANES = {
    "normal": (Normal(torch.tensor([0.5, -1.0]), torch.tensor([-1.0, 1.0])), 12),
    "standard normal": (StandardNormal(), 8),
    "multivariate normal": (
        MultivariateNormal(torch.tensor([0.5, -1.0]), torch.tensor([[0.4, 0.0], [-1.5, 0.6]])),
        12,
    ),
    "mixture": (Mixture(normal(3, 2), torch.tensor([0.0, -1.0, 1.0])), 30),
    "mixture of multivariate normals": (Mixture(multivariate(3, 2), torch.tensor([0.0, -1.0, 1.0])), 16),
}
ANY = {
    "normal": normal(B, D),
    "normal of each sample": normal(K, B, D),
    "standard normal": StandardNormal(),
    "multivariate normal": multivariate(B, D),
    "multivariate normal of each sample": multivariate(K, B, D),
    "mixture": Mixture(normal(7, D), normals(7)),
    "mixture of multivariate normals": Mixture(multivariate(7, D), normals(7)),
}
FACTORISE = {name: p for name, p in ANY.items() if hasattr(p, "factors")}
planes = pytest.mark.parametrize(("p", "bound"), PLANES.values(), ids=PLANES)
any_of_them = pytest.mark.parametrize("p", ANY.values(), ids=ANY)


def on_the_plane(p, bound):
    """The steps of a grid (N,), and the density on it times the area of a square, (N, N)."""
    steps = torch.linspace(-bound, bound, 601)
    return steps, p.log_prob(torch.cartesian_prod(steps, steps)).exp().view(601, 601) * (steps[1] - steps[0]) ** 2


@planes
def test_the_density_integrates_to_one(p, bound):
    assert on_the_plane(p, bound)[1].sum().item() == pytest.approx(1, abs=1e-4)


@planes
@pytest.mark.parametrize("dimension", [0, 1])
def test_samples_have_the_density(p, bound, dimension):
    """The test of Kolmogorov and Smirnov, at 1%, of a marginal, whose distribution is an integral of the density."""
    count = 20_000
    z, _ = p.draw(normals(count, 2))
    steps, mass = on_the_plane(p, bound)
    cdf = mass.sum(1 - dimension).cumsum(0)
    edges = steps + (steps[1] - steps[0]) / 2
    below = torch.searchsorted(z[:, dimension].sort().values, edges) / count
    assert (below - cdf).abs().max() < 1.63 / count**0.5


@planes
def test_samples_have_the_covariance_of_the_density(p, bound):
    z, _ = p.draw(normals(20_000, 2))
    steps, mass = on_the_plane(p, bound)
    mean = torch.stack([(mass.sum(1) * steps).sum(), (mass.sum(0) * steps).sum()])
    product = (mass * (steps - mean[0])[:, None] * (steps - mean[1])).sum()
    products = (z - mean).prod(-1)
    assert (products.mean() - product).abs() < 4 * products.std() / len(z) ** 0.5


@any_of_them
def test_the_log_prob_of_a_draw_is_that_of_its_samples(p):
    z, log_prob = p.draw(normals(K, B, D, seed=7))
    assert (z.shape, log_prob.shape) == ((K, B, D), (K, B))
    torch.testing.assert_close(log_prob, p.log_prob(z))


@pytest.mark.parametrize("p", FACTORISE.values(), ids=FACTORISE)
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
CLOSED = {"normal": normal(B, D), "multivariate normal": multivariate(B, D)}
closed = pytest.mark.parametrize("q", CLOSED.values(), ids=CLOSED)


@closed
@pytest.mark.parametrize("p", OTHERS.values(), ids=OTHERS)
def test_the_closed_kl_is_the_mean_over_samples_of_the_difference_of_the_logs(q, p):
    z, log_q = q.draw(normals(50_000, B, D, seed=7))
    difference = log_q - p.log_prob(z)  # (K, B)
    error = 5 * difference.std(0) / len(difference) ** 0.5
    assert q.kl(p).shape == (B, D)
    assert ((difference.mean(0) - q.kl(p).sum(-1)).abs() < error).all()


@closed
def test_the_kl_to_a_standard_normal_is_that_to_a_normal_with_mean_0_and_variance_1(q):
    torch.testing.assert_close(q.kl(StandardNormal()), q.kl(Normal(torch.zeros(D), torch.zeros(D))))


def test_the_kl_is_zero_only_to_itself():
    q = normal(B, D)
    assert (q.kl(q) == 0).all()
    assert (Normal(torch.zeros(B, D), torch.zeros(B, D)).kl(StandardNormal()) == 0).all()
    for p in OTHERS.values():
        assert (q.kl(p) > 0).all()


def test_no_closed_kl_is_made_up_for_an_unknown_pair():
    for q in ANY.values():
        assert q.kl(object()) is None
    assert StandardNormal().kl(normal(B, D)) is None


def test_gradients_reach_mean_and_variance_through_samples_density_and_kl():
    mean, log_var = normals(B, D).requires_grad_(), normals(B, D, seed=1).requires_grad_()
    q = Normal(mean, log_var)
    z, log_q = q.draw(normals(K, B, D, seed=7))
    for value in (z.square(), q.log_prob(z.detach()), q.kl(StandardNormal())):
        gradients = torch.autograd.grad(value.sum(), (mean, log_var), retain_graph=True)
        assert all((gradient != 0).all() for gradient in gradients)
    torch.testing.assert_close(torch.autograd.grad(log_q.sum(), log_var)[0], torch.full((B, D), -0.5 * K))


def test_gradients_reach_mean_and_cholesky_factor_through_samples_density_and_kl():
    q = multivariate(B, D)
    q.mean.requires_grad_()
    q.cholesky.requires_grad_()
    z, _ = q.draw(normals(K, B, D, seed=7))
    for value in (z.square(), q.log_prob(z.detach()), q.kl(StandardNormal()), q.kl(normal(B, D))):
        mean, cholesky = torch.autograd.grad(value.sum(), (q.mean, q.cholesky), retain_graph=True)
        assert (mean != 0).all()
        assert (cholesky[:, torch.ones(D, D).tril().bool()] != 0).all()


def made_of(p):
    """The tensors that a density is made of."""
    values = [getattr(p, name) for name in getattr(p, "__dataclass_fields__", ())]
    return [tensor for value in values for tensor in ([value] if isinstance(value, torch.Tensor) else made_of(value))]


@any_of_them
def test_a_detached_density_is_the_same_with_a_gradient_to_z_alone(p):
    parameters = [tensor.requires_grad_() for tensor in made_of(p)]
    z = normals(K, B, D, seed=7).requires_grad_()
    log_prob = p.detached().log_prob(z)
    assert torch.equal(log_prob, p.log_prob(z))
    log_prob.sum().backward()
    torch.testing.assert_close(z.grad, torch.autograd.grad(p.log_prob(z).sum(), z)[0])
    assert (z.grad != 0).all()
    assert all(parameter.grad is None for parameter in parameters)
    assert not any(tensor.requires_grad for tensor in p.detached().draw(normals(K, B, D)))
    for parameter in parameters:
        parameter.requires_grad_(False)


def test_densities_far_out_are_finite():
    p = Normal(torch.zeros(1), torch.tensor([-40.0]))
    assert p.log_prob(torch.tensor([1e-3])).isfinite()
    assert StandardNormal().log_prob(torch.tensor([1e4])).item() == pytest.approx(-5e7 - 0.5 * math.log(2 * math.pi))


def test_the_density_of_any_covariance_is_that_of_torch():
    p, z = multivariate(B, D), normals(K, B, D, seed=7)
    reference = torch.distributions.MultivariateNormal(p.mean, scale_tril=p.cholesky)
    torch.testing.assert_close(p.log_prob(z), reference.log_prob(z))
    torch.testing.assert_close(p.log_prob(z[0]), reference.log_prob(z[0]))
    torch.testing.assert_close(p.log_prob(z.unsqueeze(2)), reference.log_prob(z.unsqueeze(2)))


def test_a_covariance_without_correlation_is_the_diagonal_normal():
    p, z = normal(B, D), normals(K, B, D, seed=7)
    q = MultivariateNormal(p.mean, torch.diag_embed((p.log_var / 2).exp()))
    for one, same in zip(q.draw(z), p.draw(z), strict=True):
        torch.testing.assert_close(one, same)
    for other in OTHERS.values():
        torch.testing.assert_close(q.kl(other), p.kl(other))


def test_the_kl_of_a_dimension_is_that_of_its_density_given_those_before_it():
    """Of the last of two it is the mean, over the first, of the KL of a normal density of one dimension."""
    q = MultivariateNormal(torch.tensor([[0.5, -1.0]]), torch.tensor([[[0.4, 0.0], [-1.5, 0.6]]]))
    p = normal(1, 2)
    eps = normals(100_000, 1)
    given = Normal(q.mean[:, 1:] + q.cholesky[:, 1:, 0] * eps, 2 * q.cholesky[:, 1:, 1].log().expand(len(eps), 1))
    kl = given.kl(Normal(p.mean[:, 1:], p.log_var[:, 1:]))
    assert (kl.mean() - q.kl(p)[0, 1]).abs() < 4 * kl.std() / len(kl) ** 0.5


def test_a_mixture_of_one_component_is_that_component():
    p, eps = normal(1, D), normals(K, B, D, seed=7)
    for one, same in zip(Mixture(p, torch.zeros(1)).draw(eps), p.draw(eps), strict=True):
        torch.testing.assert_close(one, same, rtol=1e-4, atol=1e-4)


def test_components_are_chosen_as_often_as_their_weights_say_and_what_is_left_is_normal():
    count, logits = 20_000, torch.tensor([0.0, -1.0, 1.0, 0.5])
    centres = torch.tensor([[-60.0, 0.0], [-20.0, 0.0], [20.0, 0.0], [60.0, 0.0]])
    z, _ = Mixture(Normal(centres, torch.zeros(4, 2)), logits).draw(normals(count, 2))
    chosen = (z[:, None, 0] - centres[:, 0]).abs().argmin(-1)
    expected = logits.softmax(0)
    error = (expected * (1 - expected) / count).sqrt()
    assert ((chosen.bincount() / count - expected).abs() < 4 * error).all()
    for component in range(4):
        left = (z - centres[component])[chosen == component].sort(0).values
        ranks = torch.linspace(0, 1, len(left))[:, None]
        assert (torch.special.ndtr(left) - ranks).abs().max() < 1.63 / len(left) ** 0.5 + 1 / len(left)


def test_the_gradient_of_samples_to_the_components_is_that_of_their_mean_and_none_to_the_weights():
    """E[|z|^2] of a mixture has the gradient 2 w_c mean_c to the mean of a component."""
    p = Mixture(normal(3, 2), torch.tensor([0.0, -1.0, 1.0]).requires_grad_())
    p.components.mean.requires_grad_()
    z, _ = p.draw(normals(50_000, 2))
    mean = torch.autograd.grad(z.square().sum(-1).mean(), p.components.mean, retain_graph=True)[0]
    expected = 2 * p.logits.softmax(0)[:, None] * p.components.mean
    torch.testing.assert_close(mean, expected.detach(), rtol=0.05, atol=0.05)
    assert torch.autograd.grad(z.sum(), p.logits, allow_unused=True)[0] is None

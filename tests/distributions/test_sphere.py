"""Densities on the sphere: normalisers, samples that have them, gradients of the concentration."""

import math

import pytest
import torch
import torch.nn.functional as F
from scipy import integrate, special
from torch.func import jacrev

from helpers.combinations import normals
from vaelab.distributions import StandardNormal, UniformSphere, VonMisesFisher
from vaelab.distributions.sphere import log_area

K, B, D = 5, 4, 3
DIMS = (2, 3, 4, 5, 20, 128)
CONCENTRATIONS = (1e-3, 0.5, 5.0, 30.0, 1e3, 1e6)
dims = pytest.mark.parametrize("dim", DIMS)
BESSEL = [(d, k) for d in DIMS for k in CONCENTRATIONS if special.ive(d / 2, k) > 1e-290]  # where scipy has it
concentrations = pytest.mark.parametrize("concentration", CONCENTRATIONS)


def directions(*shape, seed=0):
    return F.normalize(normals(*shape, seed=seed), dim=-1)


def von_mises_fisher(concentration, dim, dtype=torch.float64):
    """One image's density."""
    return VonMisesFisher(directions(1, dim).to(dtype), torch.full((1, 1), concentration, dtype=dtype))


def of_some(*shape, seed=0):
    """A density with concentrations from below one to some tens."""
    return VonMisesFisher(directions(*shape, seed=seed), normals(*shape[:-1], 1, seed=seed + 1).mul(1.5).exp() + 0.1)


ANY = {"uniform": UniformSphere(), "of the image": of_some(B, D), "of each sample": of_some(K, B, D)}
any_of_them = pytest.mark.parametrize("p", ANY.values(), ids=ANY)


@pytest.mark.parametrize("p", [UniformSphere(), von_mises_fisher(0.7, 2), von_mises_fisher(40.0, 2)])
def test_the_density_integrates_to_one_around_the_circle(p):
    angles = torch.linspace(0, 2 * math.pi, 2001, dtype=torch.float64)[:-1]
    circle = torch.stack([angles.cos(), angles.sin()], -1)
    assert p.log_prob(circle).exp().mean().item() * 2 * math.pi == pytest.approx(1, abs=1e-7)


@pytest.mark.parametrize("p", [UniformSphere(), von_mises_fisher(0.7, 3), von_mises_fisher(40.0, 3)])
def test_the_density_integrates_to_one_over_the_sphere(p):
    heights = (torch.arange(500, dtype=torch.float64) + 0.5) / 250 - 1  # the area of a sphere is uniform in height
    angles = 2 * math.pi * torch.arange(200, dtype=torch.float64) / 200
    height, angle = torch.cartesian_prod(heights, angles).unbind(-1)
    radius = (1 - height**2).sqrt()
    sphere = torch.stack([radius * angle.cos(), radius * angle.sin(), height], -1)
    assert p.log_prob(sphere).exp().mean().item() * 4 * math.pi == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(("dim", "concentration"), BESSEL)
def test_the_normaliser_is_that_of_the_bessel_function(dim, concentration):
    q, order = von_mises_fisher(concentration, dim), dim / 2 - 1
    scaled = special.ive(order, concentration)
    log_largest = order * math.log(concentration) - dim / 2 * math.log(2 * math.pi) - math.log(scaled)
    assert q.log_prob(q.mean).item() == pytest.approx(log_largest, abs=1e-8)


def test_without_concentration_it_is_uniform():
    for dim in DIMS:
        q, z = von_mises_fisher(0.0, dim), directions(7, dim).double()
        torch.testing.assert_close(q.log_prob(z), UniformSphere().log_prob(z))
        assert q.kl(UniformSphere()).item() == pytest.approx(0, abs=1e-12)


@dims
@concentrations
def test_the_angles_of_samples_have_their_density(dim, concentration):
    """The test of Kolmogorov and Smirnov at 1%; the density is that of the sphere times the area at the angle."""
    q, count = von_mises_fisher(concentration, dim, torch.float32), 5000
    z, _ = q.draw(normals(count, 1, dim))
    angle = 2 * ((z - q.mean).norm(dim=-1) / 2).clamp(max=1).asin().flatten().double()
    grid = torch.linspace(0, angle.max().item() * 1.1, 4001, dtype=torch.float64).clamp(max=math.pi)
    log_density = q.log_prob(q.mean).double() - concentration * 2 * (grid / 2).sin().square()
    density = (log_density + (dim - 2) * grid.sin().clamp(min=1e-30).log() + log_area(dim - 1)).exp()
    cdf = torch.as_tensor(integrate.cumulative_trapezoid(density, grid, initial=0))
    below = torch.searchsorted(angle.sort().values, grid) / count
    assert (below - cdf).abs().max() < 1.63 / count**0.5


@dims
def test_samples_lie_around_the_mean_the_same_in_all_directions(dim):
    q, count = von_mises_fisher(0.7 * dim, dim), 20_000
    z, _ = q.draw(normals(count, 1, dim).double())
    across = (z - (z * q.mean).sum(-1, keepdim=True) * q.mean).squeeze(1)
    spread = across.square().sum(-1).mean() / (dim - 1)
    tangent = torch.eye(dim, dtype=torch.float64) - q.mean.T @ q.mean
    assert (across.mean(0).abs() < 4.5 * (spread / count).sqrt()).all()
    assert (across.T @ across / count - spread * tangent).abs().max() < 7 * spread / count**0.5


@any_of_them
def test_samples_have_length_one_and_the_log_prob_of_the_draw(p):
    z, log_prob = p.draw(normals(K, B, D, seed=7))
    assert (z.shape, log_prob.shape) == ((K, B, D), (K, B))
    assert z.dtype == log_prob.dtype == torch.float32
    torch.testing.assert_close(z.norm(dim=-1), torch.ones(K, B))
    torch.testing.assert_close(log_prob, p.log_prob(z))


def test_zero_noise_is_the_mean_and_of_the_uniform_a_point():
    for dim in DIMS:
        q = of_some(B, dim)
        torch.testing.assert_close(q.draw(torch.zeros(1, B, dim))[0][0], q.mean)
        assert torch.equal(UniformSphere().draw(torch.zeros(1, B, dim))[0], torch.eye(dim)[0].expand(1, B, dim))


def test_much_concentration_is_a_normal_density_on_the_tangent():
    q, eps = von_mises_fisher(1e6, D), normals(7, 1, D).double()
    tangent = eps - (eps * q.mean).sum(-1, keepdim=True) * q.mean
    torch.testing.assert_close((q.draw(eps)[0] - q.mean) * 1e3, tangent, rtol=1e-2, atol=1e-2)
    kl = 0.5 * (D - 1) * math.log(1e6 / (2 * math.pi * math.e)) + log_area(D)
    assert q.kl(UniformSphere()).item() == pytest.approx(kl, abs=1e-4)


@dims
@concentrations
def test_the_closed_kl_is_the_mean_over_samples_of_the_difference_of_the_logs(dim, concentration):
    q = von_mises_fisher(concentration, dim)
    z, log_q = q.draw(normals(5000, 1, dim).double())
    difference = log_q - UniformSphere().log_prob(z)
    kl = q.kl(UniformSphere())
    assert kl.shape == (1, 1)
    assert (difference.mean() - kl).abs() < 4.5 * difference.std() / len(z) ** 0.5


@pytest.mark.parametrize(("dim", "concentration"), BESSEL)
def test_the_gradient_of_the_kl_to_the_concentration_is_that_of_the_bessel_function(dim, concentration):
    """It is k A'(k) for A(k) the length of the mean of z, a ratio of Bessel functions."""
    order = dim / 2 - 1
    scaled = special.ive(order, concentration)
    q = von_mises_fisher(concentration, dim)
    q.concentration.requires_grad_()
    gradient = torch.autograd.grad(q.kl(UniformSphere()).sum(), q.concentration)[0].item()
    length = special.ive(order + 1, concentration) / scaled
    expected = concentration * (1 - length**2 - (dim - 1) / concentration * length)
    assert gradient == pytest.approx(expected, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("dim", [2, 3, 20])
@pytest.mark.parametrize("concentration", [0.5, 5.0, 300.0])
def test_the_gradient_of_a_sample_is_its_difference(dim, concentration):
    """To concentration and mean, the noise as it is."""
    eps = normals(9, 1, dim).double()
    mean, k = directions(1, dim).double(), torch.full((1, 1), concentration, dtype=torch.float64)

    def z(mean, k):
        return VonMisesFisher(F.normalize(mean, dim=-1), k).draw(eps)[0]

    for argument, value in enumerate((mean, k)):
        jacobian = jacrev(z, argument)(mean, k).flatten(-2)
        for direction in range(value.numel()):
            step = torch.zeros_like(value)
            step.view(-1)[direction] = 1e-4 * (concentration if argument else concentration**-0.5)
            ends = ((mean + sign * step, k) if argument == 0 else (mean, k + sign * step) for sign in (1, -1))
            high, low = (z(*end) for end in ends)
            torch.testing.assert_close(jacobian[..., direction], (high - low) / (2 * step.sum()), rtol=1e-4, atol=1e-6)


def test_gradients_are_finite_at_zero_noise_and_where_directions_are_opposite():
    mean, k = directions(B, D).requires_grad_(), torch.tensor([[1e-3], [1.0], [1e2], [1e6]]).requires_grad_()
    for eps in (torch.zeros(1, B, D), 6 * normals(1, B, D), mean.detach()[None], -mean.detach()[None]):
        q = VonMisesFisher(F.normalize(mean, dim=-1), k)
        z, log_q = q.draw(eps)
        gradients = torch.autograd.grad((z.sum(), log_q.sum(), q.log_prob(-z).sum()), (mean, k))
        assert all(gradient.isfinite().all() for gradient in gradients)


def test_gradients_reach_mean_and_concentration_through_samples_density_and_kl():
    q = of_some(B, D)
    q.mean.requires_grad_()
    q.concentration.requires_grad_()
    z, log_q = q.draw(normals(K, B, D, seed=7))
    for value in (z.pow(3), q.log_prob(z.detach())):
        gradients = torch.autograd.grad(value.sum(), (q.mean, q.concentration), retain_graph=True)
        assert all((gradient != 0).all() for gradient in gradients)
    for value in (log_q, q.kl(UniformSphere())):
        assert (torch.autograd.grad(value.sum(), q.concentration, retain_graph=True)[0] != 0).all()


def test_a_detached_density_is_the_same_with_a_gradient_to_z_alone():
    q, z = of_some(B, D), directions(K, B, D, seed=7).requires_grad_()
    q.mean.requires_grad_()
    q.concentration.requires_grad_()
    log_prob = q.detached().log_prob(z)
    assert torch.equal(log_prob, q.log_prob(z))
    log_prob.sum().backward()
    torch.testing.assert_close(z.grad, (-q.concentration * (z - q.mean)).detach())
    assert q.mean.grad is q.concentration.grad is None
    assert not any(tensor.requires_grad for tensor in q.detached().draw(normals(K, B, D)))
    assert UniformSphere().detached() == UniformSphere()


def test_each_image_has_its_own_density():
    q, eps = of_some(B, D), normals(K, B, D, seed=7)
    one = VonMisesFisher(q.mean[1:2], q.concentration[1:2])
    for whole, part in zip(q.draw(eps), one.draw(eps[:, 1:2]), strict=True):
        torch.testing.assert_close(whole[:, 1:2], part)


def test_no_closed_kl_is_made_up_for_an_unknown_pair():
    assert of_some(B, D).kl(StandardNormal()) is None
    assert UniformSphere().kl(StandardNormal()) is None

"""Normalizing flows: change of variables, inverses, and what they can express."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal
from torch.nn.functional import softplus

from helpers.combinations import normals
from helpers.small_training import assert_resumes_bit_for_bit
from vaelab.posterior.flow import FlowPosterior
from vaelab.posterior.flow_steps import Planar, solve
from vaelab.run.build import Builder

B, F = 3, 6
kinds = pytest.mark.parametrize("kind", ["iaf", "planar", "sylvester"])


FAR = {"iaf": 3.0, "planar": 10.0, "sylvester": 10.0}  # the layers of iaf's networks multiply


def flow(kind, latent_dim=3, transforms=3, scale=None):
    """A flow whose parameters are some times what they are at its start, by default far from the identity."""
    scale = scale or FAR[kind]
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        posterior = FlowPosterior(F, latent_dim, kind, transforms, hidden=[16], context=4)
        for parameter in posterior.steps.parameters():
            parameter.mul_(scale)
        return posterior


@kinds
@pytest.mark.parametrize("latent_dim", [1, 2, 5])
def test_the_density_of_a_draw_is_that_of_the_noise_over_the_jacobian(kind, latent_dim):
    q, eps = flow(kind, latent_dim)(normals(1, F)), normals(4, 1, latent_dim, seed=1)
    z, log_q = q.draw(eps)
    for k in range(len(eps)):
        jacobian = torch.autograd.functional.jacobian(lambda e: q.draw(e[None, None])[0][0, 0], eps[k, 0])
        noise = -0.5 * (eps[k, 0].square() + math.log(2 * math.pi)).sum()
        torch.testing.assert_close(log_q[k, 0], noise - torch.linalg.slogdet(jacobian.double())[1].float())
    of_base = q.base.draw(eps)[0]
    assert (z - of_base).abs().max() > 0.01


@kinds
@pytest.mark.parametrize("latent_dim", [1, 2, 8])
def test_the_steps_are_inverted_exactly(kind, latent_dim):
    q, z = flow(kind, latent_dim)(normals(B, F)), 3 * normals(7, B, latent_dim, seed=1)
    for step in q.steps:
        torch.testing.assert_close(step.forward(step.inverse(z))[0], z, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(step.inverse(step.forward(z)[0]), z, rtol=1e-4, atol=1e-4)


@kinds
def test_the_density_integrates_to_one_and_samples_have_it(kind):
    """The test of Kolmogorov and Smirnov, at 1%, of both marginals."""
    q, steps, count = flow(kind, 2)(normals(1, F)), torch.linspace(-9, 9, 226), 4_000
    area = (steps[1] - steps[0]) ** 2
    with torch.no_grad():
        density = q.log_prob(torch.cartesian_prod(steps, steps).unsqueeze(1)).exp().view(len(steps), -1) * area
        z, _ = q.draw(normals(count, 1, 2))
    assert density.sum().item() == pytest.approx(1, abs=1e-3)
    for dimension in (0, 1):
        cdf = density.sum(1 - dimension).cumsum(0)
        below = torch.searchsorted(z[:, 0, dimension].sort().values, steps + (steps[1] - steps[0]) / 2) / count
        assert (below - cdf).abs().max() < 1.63 / count**0.5


@kinds
def test_log_prob_has_the_gradient_of_its_parameters_too(kind):
    """z of a draw moves with the parameters, and log_prob of it then is what the draw says, in its gradient too."""
    found = []
    for of_draw in (True, False):
        posterior = flow(kind)
        q = posterior(normals(B, F))
        z, log_q = q.draw(normals(4, B, 3, seed=1))
        (log_q if of_draw else q.log_prob(z)).sum().backward()
        found.append([parameter.grad for parameter in posterior.parameters()])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


@kinds
def test_it_starts_near_its_base(kind):
    q, eps = flow(kind, 8, transforms=4, scale=1.0)(normals(B, F)), normals(500, B, 8, seed=1)
    z, log_q = q.draw(eps)
    of_base, log_base = q.base.draw(eps)
    assert 1e-4 < (z - of_base).abs().mean() < 0.2
    assert (log_q - log_base).abs().mean() < 0.5


@kinds
def test_it_fits_what_no_diagonal_normal_can(kind):
    """KL to a normal of correlation 0.9: the best diagonal one has -log(1 - 0.81) / 2 = 0.83 nats."""
    posterior = flow(kind, 2, transforms=2 if kind == "iaf" else 5)
    target = MultivariateNormal(torch.zeros(2), torch.tensor([[1.0, 0.9], [0.9, 1.0]]))
    optimizer = torch.optim.Adam(posterior.parameters(), 2e-2)
    h = normals(1, F)

    def kl(seed):
        z, log_q = posterior(h).draw(normals(128, 1, 2, seed=seed))
        return (log_q - target.log_prob(z)).mean()

    for step in range(100):
        optimizer.zero_grad()
        kl(step).backward()
        optimizer.step()
    with torch.no_grad():
        reached = torch.stack([kl(1000 + seed) for seed in range(20)]).mean()
    assert reached < (0.1 if kind == "iaf" else 0.5)


def test_the_equation_of_a_number_is_solved():
    k = torch.tensor([-0.999, -0.9, -0.5, 0.0, 0.3, 4.0, 100.0]).unsqueeze(-1)
    target = torch.linspace(-30, 30, 301)
    a = solve(k, target)
    torch.testing.assert_close(a + k * a.tanh(), target.expand(7, -1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scale", [0.0, 1.0, 300.0])
def test_a_planar_step_is_invertible_whatever_the_features(scale):
    posterior = flow("planar")
    for step in posterior(scale * normals(B, F)).steps:
        assert (step.w_u > -1).all()
        torch.testing.assert_close((step.w * step.u).sum(-1, keepdim=True), step.w_u, rtol=1e-3, atol=0.05 * scale)
        assert step.forward(normals(4, B, 3))[1].isfinite().all()


def test_a_planar_step_moves_u_along_w_as_in_the_paper():
    """u + (m(w^T u) - w^T u) w / |w|^2 of m(x) = -1 + log(1 + e^x), here moved to be 0 at 0."""
    posterior = flow("planar", 3, transforms=1)
    h = normals(B, F)
    u, w, b = posterior.steps.head(h).split((3, 3, 1), -1)
    product = (w * u).sum(-1, keepdim=True)
    m = softplus(product + math.log(math.e - 1)) - 1
    (step,) = posterior(h).steps
    assert isinstance(step, Planar)
    torch.testing.assert_close(step.u, u + (m - product) * w / w.square().sum(-1, keepdim=True), rtol=1e-2, atol=1e-3)
    torch.testing.assert_close((step.w, step.b), (w, b))


def test_a_sylvester_step_is_triangular_and_the_next_one_turned():
    first, second = flow("sylvester", 3, transforms=2)(normals(B, F)).steps
    assert (first.r.tril(-1) == 0).all()
    assert (first.s.tril(-1) == 0).all()
    assert (first.r.triu(1) != 0).any()
    assert (first.s.triu(1) != 0).any()
    for step, turned in ((first, False), (second, True)):
        z = normals(3, seed=1)
        jacobian = torch.autograd.functional.jacobian(lambda z, step=step: step.forward(z.expand(1, B, 3))[0][0, 0], z)
        jacobian = jacobian.flip(0, 1) if turned else jacobian
        torch.testing.assert_close(jacobian.tril(-1), torch.zeros(3, 3))


def test_an_iaf_step_is_autoregressive_and_the_next_one_the_other_way_round():
    first, second = flow("iaf", 3, transforms=2)(normals(1, F)).steps
    for step, turned in ((first, False), (second, True)):
        jacobian = torch.autograd.functional.jacobian(
            lambda z, step=step: step.forward(z[None, None])[0][0, 0], normals(3)
        )
        jacobian = jacobian.flip(0, 1) if turned else jacobian
        torch.testing.assert_close(jacobian.triu(1), torch.zeros(3, 3))
        assert jacobian.tril(-1).abs().max() > 1e-3


@kinds
def test_its_training_resumes_bit_for_bit(kind, compose, tmp_path):
    config = compose(
        "dataset=digits",
        "logger=local",
        "model.hidden=[16]",
        "latent.dim=3",
        "posterior=flow",
        f"posterior.kind={kind}",
    )
    assert_resumes_bit_for_bit(lambda: Builder(config, None).setup(), 1, tmp_path)


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"kind": "maf"}, "kind must be one of iaf, planar, sylvester, got 'maf'"),
        ({"transforms": 0}, "transforms must be an integer of at least 1, got 0"),
        ({"context": 0}, "context must be an integer of at least 1, got 0"),
        ({"hidden": []}, r"hidden must be a list of at least one positive integer, got \[\]"),
        ({"hidden": 64}, "hidden must be a list of at least one positive integer, got 64"),
        ({"hidden": [0]}, r"hidden must be a list of at least one positive integer, got \[0\]"),
    ],
)
def test_a_setting_out_of_range_is_refused_with_a_sentence(setting, sentence):
    with pytest.raises(ValueError, match=sentence):
        FlowPosterior(F, 2, **{"kind": "iaf", "transforms": 1, "hidden": [8], "context": 2, **setting})

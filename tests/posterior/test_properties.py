"""What holds of every posterior in `conf/posterior`."""

import pytest
import torch

from conftest import ROOT
from helpers.combinations import normals
from vaelab.distributions import StandardNormal
from vaelab.errors import UserError
from vaelab.run.node import NodeBuilder

NAMES = sorted(path.stem for path in (ROOT / "conf" / "posterior").glob("*.yaml"))
WITHOUT_DENSITY = ["delta", "fsq", "vq"]
DENSITIES = [name for name in NAMES if name not in WITHOUT_DENSITY]
OF_REAL_NUMBERS = [name for name in DENSITIES if name != "von_mises_fisher"]
WITH_CLOSED_KL = [name for name in DENSITIES if name != "flow"]
K, B, F, D = 5, 3, 8, 4


def of(names):
    """Runs a test on these posteriors alone."""
    return pytest.mark.parametrize("build", names, indirect=True)


@pytest.fixture(params=NAMES)
def build(request, compose):
    """Builds the posterior of an option for some D, its weights always the same."""
    node = NodeBuilder(compose(f"posterior={request.param}"), None)

    def build(latent_dim=D):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return node.build("posterior", in_features=F, latent_dim=latent_dim).eval()

    return build


def prior_of(posterior, compose):
    """A prior over the same latents that has no parameters."""
    space = getattr(posterior, "space", "real")
    if space == "real":
        return StandardNormal()
    for path in (ROOT / "conf" / "prior").glob("*.yaml"):
        prior = NodeBuilder(compose(f"prior={path.stem}"), None).build("prior", latent_dim=D, image_shape=(1, 8, 8))
        if getattr(prior, "space", "real") == space and not list(prior.parameters()):
            return prior(None)
    raise AssertionError(f"there is no such prior over the {space}")


def test_a_draw_is_a_function_of_features_and_noise_of_the_right_shape(build):
    posterior, h, eps = build(), normals(B, F), normals(K, B, D, seed=1)
    state, before = torch.get_rng_state(), {name: value.clone() for name, value in posterior.state_dict().items()}
    (z, log_q), (same, _) = (posterior(h).draw(eps) for _ in range(2))
    assert torch.equal(z, same)
    assert torch.equal(state, torch.get_rng_state())
    assert z.shape == (K, B, D)
    assert log_q is None or log_q.shape == (K, B)
    assert all(torch.equal(value, before[name]) for name, value in posterior.state_dict().items())


def test_each_image_has_its_own_latents(build):
    posterior, h, eps = build(), normals(B, F), normals(K, B, D, seed=1)
    torch.testing.assert_close(posterior(h).draw(eps)[0][:, 1:2], posterior(h[1:2]).draw(eps[:, 1:2])[0])
    assert not torch.allclose(*posterior(h).draw(eps[:, :1].expand(-1, B, -1))[0][:, :2].unbind(1))


@pytest.mark.parametrize("scale", [0.0, 1.0, 20.0])
def test_zero_noise_gives_a_point_and_all_is_finite(build, scale):
    q = build()(scale * normals(B, F))
    for eps in (torch.zeros(1, B, D), 4 * normals(K, B, D)):
        z, log_q = q.draw(eps)
        assert z.isfinite().all()
        assert log_q is None or log_q.isfinite().all()


def test_a_gradient_reaches_the_features_and_every_parameter(build):
    posterior, h = build(), normals(B, F).requires_grad_()
    q = posterior(h)
    z, log_q = q.draw(normals(K, B, D, seed=1))
    loss = (z * normals(K, B, D, seed=2)).sum() + sum(getattr(q, "losses", {}).values())
    (loss if log_q is None else loss + (log_q * normals(K, B, seed=3)).sum()).backward()
    assert (h.grad != 0).any(dim=1).all()
    for name, parameter in posterior.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert (parameter.grad != 0).any(), name


@of(DENSITIES)
def test_the_log_prob_of_a_draw_is_that_of_its_samples(build):
    q = build()(normals(B, F))
    z, log_q = q.draw(normals(K, B, D, seed=1))
    torch.testing.assert_close(q.log_prob(z), log_q, rtol=1e-4, atol=1e-4)


@of(DENSITIES)
def test_the_detached_density_is_the_same_and_has_a_gradient_in_z_alone(build):
    posterior = build()
    q = posterior(normals(B, F))
    z = q.draw(normals(K, B, D, seed=1))[0].detach().requires_grad_()
    (expected,) = torch.autograd.grad(q.log_prob(z).sum(), z)
    found = q.detached().log_prob(z)
    torch.testing.assert_close(found, q.log_prob(z))
    found.sum().backward()
    torch.testing.assert_close(z.grad, expected)
    assert all(parameter.grad is None for parameter in posterior.parameters())
    assert not q.detached().draw(normals(K, B, D))[0].requires_grad


@of(OF_REAL_NUMBERS)
def test_a_density_over_real_numbers_integrates_to_one(build):
    steps = torch.linspace(-10, 10, 201)
    q = build(latent_dim=2)(normals(1, F))
    density = q.log_prob(torch.cartesian_prod(steps, steps).unsqueeze(1)).exp()
    assert (density.sum() * (steps[1] - steps[0]) ** 2).item() == pytest.approx(1, abs=1e-3)


@of(OF_REAL_NUMBERS)
def test_the_samples_have_the_mean_of_the_density(build):
    """E_q[f] of draws equals that of another density's draws, weighted, of which q/p makes them q's."""
    q, eps = build(latent_dim=2)(normals(1, F)), normals(20_000, 1, 2)
    z, _ = q.draw(eps)
    others = 2 * normals(20_000, 1, 2, seed=1)
    weights = (q.log_prob(others) - StandardNormal().log_prob(others / 2)).exp() * 4
    for f in (torch.tanh, lambda z: torch.tanh(z).square(), lambda z: torch.tanh(z).prod(-1, keepdim=True)):
        weighted = weights.unsqueeze(-1) * f(others)
        error = ((weighted.var(0) + f(z).var(0)) / len(z)).sqrt()
        assert ((weighted.mean(0) - f(z).mean(0)).abs() < 4.5 * error).all()


@of(WITH_CLOSED_KL)
def test_a_closed_kl_is_its_estimate(build, compose):
    posterior = build()
    q, p = posterior(normals(B, F)), prior_of(posterior, compose)
    closed = q.kl(p)
    assert closed.shape in {(B, D), (B, 1)}
    z, log_q = q.draw(normals(20_000, B, D, seed=1))
    each = log_q - p.log_prob(z)
    assert ((closed.sum(-1) - each.mean(0)).abs() < 4.5 * each.std(0) / len(z) ** 0.5 + 1e-4).all()


@of(WITHOUT_DENSITY)
def test_what_has_no_density_says_so_and_codes_bring_their_prior(build):
    posterior = build()
    q = posterior(normals(B, F))
    assert q.draw(normals(1, B, D))[1] is None
    with pytest.raises(UserError, match="no density"):
        q.log_prob(normals(1, B, D))
    assert q.kl(StandardNormal()) is None
    assert hasattr(posterior, "prior") == hasattr(q, "codes") == hasattr(q, "num_codes")
    if hasattr(q, "codes"):
        assert q.codes.shape[0] == B
        assert not q.codes.is_floating_point()
        assert 0 <= q.codes.min() <= q.codes.max() < q.num_codes
        z, log_p = posterior.prior().draw(normals(6, D))
        assert (z.shape, log_p.shape) == ((6, D), (6,))
        torch.testing.assert_close(posterior.prior().log_prob(z), log_p)

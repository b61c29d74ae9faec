"""What each prior of `conf/prior/` is: a density of its own samples, made of the noise alone, that can be learned."""

import copy
import inspect
import math

import pytest
import torch
import yaml
from hydra.utils import get_class
from safetensors.torch import load_file, save_file
from torch.fx.experimental.proxy_tensor import make_fx

from conftest import ROOT
from helpers.combinations import normals
from vaelab.distributions import Normal
from vaelab.errors import UserError

OPTIONS = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((ROOT / "conf" / "prior").glob("*.yaml"))}
OPTIONS["neural spline flow"] = {**OPTIONS["flow"], "kind": "nsf"}
FACTS = {"image_shape": (1, 2, 3), "num_classes": 10, "train_size": 1300}
K, B, SIDE, BOUND = 5, 4, 241, 9.0


class Inferring(torch.nn.Module):
    """q(z|x) that is far from N(0, I) and differs between images."""

    def __init__(self, latent_dim):
        super().__init__()
        self.heads = torch.nn.Linear(6, 2 * latent_dim)
        torch.nn.init.normal_(self.heads.weight)

    def forward(self, x, y=None):
        mean, log_var = self.heads(x.flatten(1)).chunk(2, -1)
        return Normal(mean, log_var - 2)


def prior_of(node, latent_dim):
    """The prior, moved from where it starts, and the model's way from images to q(z|x)."""
    torch.manual_seed(0)
    target = get_class(node["_target_"])
    facts = {**FACTS, "latent_dim": latent_dim}
    named = {key: value for key, value in facts.items() if key in inspect.signature(target).parameters}
    prior = target(**named, **{key: value for key, value in node.items() if key != "_target_"})
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter += 0.3 * parameter.std(correction=0) * torch.randn_like(parameter)
    return prior, Inferring(latent_dim)


@pytest.fixture(params=OPTIONS)
def node(request):
    return OPTIONS[request.param]


@pytest.fixture
def prior(node):
    return prior_of(node, 2)


def grid(prior, p):
    """Two coordinates (N, M), and the mass p has at each of their pairs; on the sphere the second is one alone."""
    if getattr(prior, "space", "real") == "sphere":
        angles = 2 * math.pi * (torch.arange(2000) + 0.5) / 2000 - math.pi
        mass = p.log_prob(torch.stack([angles.cos(), angles.sin()], -1)).exp() * 2 * math.pi / 2000
        return angles, mass[:, None]
    steps = torch.linspace(-BOUND, BOUND, SIDE)
    mass = p.log_prob(torch.cartesian_prod(steps, steps)).exp() * (steps[1] - steps[0]) ** 2
    return steps, mass.view(SIDE, SIDE)


def coordinates(prior, z):
    """Of samples (N, 2), as those of the grid."""
    return torch.atan2(z[:, 1], z[:, 0])[:, None] if getattr(prior, "space", "real") == "sphere" else z


@torch.no_grad()
def test_the_density_integrates_to_one(prior):
    prior, infer = prior
    assert grid(prior, prior(infer))[1].sum().item() == pytest.approx(1, abs=2e-3)


@torch.no_grad()
def test_samples_have_the_density(prior):
    """The test of Kolmogorov and Smirnov, at 1%, of each coordinate; of the plane the first two moments besides."""
    prior, infer = prior
    p, count = prior(infer), 10_000
    z = coordinates(prior, p.draw(normals(count, 2))[0])
    steps, mass = grid(prior, p)
    edges = steps + (steps[1] - steps[0]) / 2
    for dimension in range(z.shape[1]):
        cdf = mass.sum(1 - dimension).cumsum(0)
        below = torch.searchsorted(z[:, dimension].sort().values, edges) / count
        assert (below - cdf).abs().max() < 1.63 / count**0.5 + 2e-3
    if z.shape[1] == 2:
        product = (mass * steps[:, None] * steps).sum()
        found = z.prod(-1)
        assert (found.mean() - product).abs() < 4 * found.std() / count**0.5


@torch.no_grad()
@pytest.mark.parametrize("shape", [(K, B), (B,)])
def test_the_log_prob_of_a_draw_is_that_of_its_samples(shape, prior):
    prior, infer = prior
    state = torch.get_rng_state()
    p = prior(infer)
    z, log_prob = p.draw(normals(*shape, 2))
    assert (z.shape, log_prob.shape) == ((*shape, 2), shape)
    torch.testing.assert_close(log_prob, p.log_prob(z), rtol=1e-4, atol=1e-4)
    assert torch.equal(torch.get_rng_state(), state)


def test_zero_noise_and_far_latents_have_finite_densities_and_gradients(prior):
    prior, infer = prior
    p = prior(infer)
    z, log_prob = p.draw(torch.zeros(1, B, 2))
    far = (torch.tensor([[30.0, -30.0]]), torch.tensor([[-1.0, 0.0]]))
    values = (z.sum(), log_prob.sum(), *(p.log_prob(each).sum() for each in far))
    assert all(value.isfinite() for value in values)
    if parameters := [*prior.parameters()]:
        gradients = torch.autograd.grad(values, parameters)
        assert all(gradient.isfinite().all() for gradient in gradients)


def test_each_parameter_gets_a_gradient_from_the_density_and_the_encoder_where_the_prior_infers(prior):
    prior, infer = prior
    value = prior(infer).log_prob(normals(400, 2)).sum()
    if value.requires_grad:
        value.backward()
    assert all((parameter.grad != 0).any() for parameter in prior.parameters())
    inferred = infer.heads.weight.grad is not None and (infer.heads.weight.grad != 0).any().item()
    assert inferred == getattr(prior, "infers", False)


def test_a_detached_density_is_the_same_with_a_gradient_to_z_alone(prior):
    prior, infer = prior
    p, z = prior(infer), normals(K, B, 2).requires_grad_()
    log_prob = p.detached().log_prob(z)
    assert torch.equal(log_prob, p.log_prob(z))
    if log_prob.requires_grad:
        log_prob.sum().backward()
        torch.testing.assert_close(z.grad, torch.autograd.grad(p.log_prob(z).sum(), z)[0])
    assert all(parameter.grad is None for parameter in (*prior.parameters(), *infer.parameters()))
    assert not any(value.requires_grad for value in p.detached().draw(normals(K, B, 2)))


@torch.no_grad()
def test_a_copy_and_what_other_tools_read_are_the_same_density(node, prior, tmp_path):
    prior, infer = prior
    p, z = prior(infer), normals(K, B, 2)
    twin = copy.deepcopy(prior)
    assert torch.equal(twin(infer).log_prob(z), p.log_prob(z))
    state = prior.state_dict()
    places = [value.untyped_storage().data_ptr() for value in state.values()]
    assert len(set(places)) == len(places)
    save_file(state, tmp_path / "prior.safetensors")
    other, _ = prior_of(node, 2)
    for parameter in other.parameters():
        parameter.zero_()
    other.load_state_dict(load_file(tmp_path / "prior.safetensors"))
    assert torch.equal(other(infer).log_prob(z), p.log_prob(z))


@torch.no_grad()
def test_one_dimension_has_a_density_too_or_is_refused(node):
    try:
        prior, infer = prior_of(node, 1)
    except UserError as refusal:
        assert "latent.dim" in str(refusal)
        return
    steps = torch.linspace(-40, 40, 20_001)
    p = prior(infer)
    mass = p.log_prob(steps[:, None]).exp() * (steps[1] - steps[0])
    assert mass.sum().item() == pytest.approx(1, abs=2e-3)
    below = torch.searchsorted(p.draw(normals(5000, 1))[0].flatten().sort().values, steps) / 5000
    assert (below - mass.cumsum(0)).abs().max() < 1.63 / 5000**0.5 + 2e-3


@pytest.mark.slow
def test_density_and_draw_can_be_recorded_as_one_graph_unless_it_says_not(prior):
    prior, infer = prior
    if not all(getattr(module, "compiles", True) for module in prior.modules()):
        return

    def value(z):
        p = prior(infer)
        drawn, log_prob = p.draw(z)
        return drawn.square().sum() + log_prob.sum() + p.log_prob(z).sum()

    z, other = normals(K, B, 2), normals(K, B, 2, seed=1)
    torch.testing.assert_close(make_fx(value)(z)(other), value(other))

"""What every likelihood of `conf/likelihood` is: a probability with the mean and the samples that it claims."""

import pytest
import torch
import yaml
from torch.fx.experimental.proxy_tensor import make_fx

from conftest import ROOT
from helpers.combinations import levels, normals
from vaelab.ops import generator, unit_interval
from vaelab.parts import DENSITY, MASS
from vaelab.run.node import NodeBuilder

CONF = ROOT / "conf/likelihood"
OPTIONS = sorted(path.stem for path in CONF.glob("*.yaml"))
VARIANTS = [  # beside the defaults
    ("gaussian", {"sigma": 0.05}),
    ("gaussian", {"sigma": "pixel"}),
    ("gaussian", {"sigma": "optimal"}),
    ("laplace", {"scale": 0.05}),
    ("student_t", {"df": 1, "scale": 0.1}),
    ("student_t", {"df": 3.5, "scale": 0.05}),
    ("dmol", {"components": 1}),
]
CASES = [*((option, {}) for option in OPTIONS), *VARIANTS]
DRAWS = 20_000
LIMIT = 1.95 / DRAWS**0.5  # of the Kolmogorov-Smirnov statistic, at 0.1%


def named(case):
    return " ".join([case[0], *(f"{key}={value}" for key, value in case[1].items())])


@pytest.fixture(params=CASES, ids=named)
def likelihood(request):
    option, settings = request.param
    node = yaml.safe_load((CONF / f"{option}.yaml").read_text())
    return NodeBuilder({"likelihood": {**node, **settings}}, None).build("likelihood", image_shape=(1, 1, 1)).eval()


@pytest.fixture(params=[1, 3, 12], ids="parameters of scale {}".format)
def params(request, likelihood):
    """Of one grey pixel, (M, 1, 1)."""
    return request.param * normals(likelihood.out_channels(1), 1, 1, seed=request.param)


def images_for(likelihood, *shape):
    grey = unit_interval(levels(*shape))
    grey[0] = 0
    grey[1] = 1
    return grey if "levels" in likelihood.pixels else grey.round()


def draws(likelihood, params, count=DRAWS):
    return likelihood.sample(params.expand(count, -1, -1, -1), generator(0, "test")).flatten()


def at(likelihood, params, x):
    """p(x) of values x of one pixel."""
    expanded = params.expand(1, len(x), -1, -1, -1)
    return likelihood.log_prob(expanded, x.float().view(-1, 1, 1, 1))[0].double().exp()


def values(likelihood, params):
    """Values of one pixel and the probability of each, of a density up to each from the one before, (V,) each.

    A density is over [0, 1] if its samples lie there, else over all real numbers.
    """
    if MASS in likelihood.pixels.values():
        x = torch.arange(256) / 255 if likelihood.pixels["levels"] == MASS else torch.tensor([0.0, 1.0])
        return x, at(likelihood, params, x)
    drawn = draws(likelihood, params)
    if 0 <= drawn.min() <= drawn.max() <= 1:
        x = torch.linspace(0, 1, 20_001, dtype=torch.float64)
    else:
        x = params.flatten()[0] + torch.linspace(-17, 17, 40_001, dtype=torch.float64).sinh()
    density = at(likelihood, params, x)
    areas = 0.5 * (density[1:] + density[:-1]) * x.float().double().diff()
    return x, torch.cat([torch.zeros(1), areas])


def test_its_probability_sums_or_integrates_to_one(likelihood, params):
    _, probability = values(likelihood, params)
    assert probability.min() >= 0
    assert probability.sum().item() == pytest.approx(1, abs=2e-4)


def test_its_samples_have_its_distribution(likelihood, params):
    x, probability = values(likelihood, params)
    found = torch.searchsorted(draws(likelihood, params).double().sort().values, x.double() + 1e-6, right=True) / DRAWS
    assert (found - probability.cumsum(0)).abs().max() < LIMIT


def test_its_mean_is_the_expectation_up_to_half_a_level_and_in_the_unit_interval(likelihood, params):
    x, probability = values(likelihood, params)
    expectation = (x * probability).sum().clamp(0, 1).item()
    mean = likelihood.mean(params[None])
    assert mean.shape == (1, 1, 1, 1)
    assert mean.item() == pytest.approx(expectation, abs=0.51 / 255 if MASS in likelihood.pixels.values() else 2e-3)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_log_prob_is_a_sum_over_the_pixels_of_each_image_and_sample(likelihood, channels):
    params = normals(4, 3, likelihood.out_channels(channels), 2, 5)
    x = images_for(likelihood, 3, channels, 2, 5)
    log_prob = likelihood.log_prob(params, x)
    assert log_prob.shape == (4, 3)
    assert log_prob.dtype == torch.float32
    pixels = params.permute(0, 1, 3, 4, 2).reshape(1, 4 * 3 * 2 * 5, -1, 1, 1)
    values = x.permute(0, 2, 3, 1).repeat(4, 1, 1, 1).reshape(4 * 3 * 2 * 5, channels, 1, 1)
    alone = likelihood.log_prob(pixels, values).view(4, 3, 2 * 5)
    torch.testing.assert_close(log_prob, alone.sum(-1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scale", [0, 1, 30, 1000, 1e6])
def test_log_prob_and_its_gradient_are_finite_at_any_parameters(likelihood, scale):
    params = (scale * normals(1, 4, likelihood.out_channels(3), 8, 8)).requires_grad_()
    log_prob = likelihood.log_prob(params, images_for(likelihood, 4, 3, 8, 8))
    log_prob.sum().backward()
    assert log_prob.isfinite().all()
    assert params.grad.isfinite().all()
    if set(likelihood.pixels.values()) != {DENSITY}:
        assert log_prob.max() <= 1e-3


@pytest.mark.parametrize("scale", [0, 1, 1000, 1e6])
def test_its_mean_and_samples_are_images_at_any_parameters(likelihood, scale):
    params = scale * normals(5, likelihood.out_channels(3), 4, 6)
    mean, drawn = likelihood.mean(params), likelihood.sample(params, generator(0, "test"))
    assert mean.shape == drawn.shape == (5, 3, 4, 6)
    assert mean.min() >= 0
    assert mean.max() <= 1
    assert drawn.clamp(0, 1).isfinite().all()
    if set(likelihood.pixels.values()) != {DENSITY}:
        torch.testing.assert_close(drawn * 255, (drawn * 255).round(), rtol=0, atol=1e-4)


def test_samples_are_a_function_of_the_generator_which_may_be_of_another_device(likelihood):
    params = normals(2, likelihood.out_channels(3), 8, 8)
    first = likelihood.sample(params, generator(1, "test"))
    assert torch.equal(first, likelihood.sample(params, generator(1, "test")))
    assert not torch.equal(first, likelihood.sample(params, generator(2, "test")))
    assert likelihood.to("meta").sample(params.to("meta"), generator(1, "test")).device.type == "meta"


def test_all_its_parameters_have_a_gradient_and_all_its_numbers_are_saved(likelihood):
    params, x = normals(2, 3, likelihood.out_channels(1), 4, 4), images_for(likelihood, 3, 1, 4, 4)
    log_prob = likelihood.log_prob(params, x)
    if list(likelihood.parameters()):
        log_prob.sum().backward()
    assert all(parameter.grad != 0 for parameter in likelihood.parameters())
    state = {name: value + 0.1 * number for number, (name, value) in enumerate(likelihood.state_dict().items(), 1)}
    likelihood.load_state_dict(state)
    assert bool(state) != torch.equal(likelihood.log_prob(params, x), log_prob)


def test_it_is_recorded_as_one_graph_unless_it_says_not(likelihood):
    if not getattr(likelihood, "compiles", True):
        return
    params, x = normals(1, 2, likelihood.out_channels(3), 4, 4), images_for(likelihood, 2, 3, 4, 4)
    other = normals(1, 2, likelihood.out_channels(3), 4, 4, seed=1)
    graph = make_fx(lambda params, x: likelihood.log_prob(params, x))(params, x)
    torch.testing.assert_close(graph(other, x.flip(-1)), likelihood.log_prob(other, x.flip(-1)))

"""Numbers of a likelihood that are given or learned: a standard deviation, a scale, degrees of freedom."""

import math
from functools import partial

import pytest
import torch

from vaelab.likelihood.gaussian import GaussianLikelihood
from vaelab.likelihood.laplace import LaplaceLikelihood
from vaelab.likelihood.student_t import StudentTLikelihood
from vaelab.ops import generator

KINDS = {
    "gaussian sigma": (GaussianLikelihood, "sigma", math.exp(-6)),
    "laplace scale": (LaplaceLikelihood, "scale", math.exp(-6)),
    "student_t scale": (partial(StudentTLikelihood, 4.0), "scale", math.exp(-6)),
    "student_t df": (lambda value: StudentTLikelihood(value, 0.1), "df", 1),
}


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


def value_of(likelihood, name):
    return likelihood.df if name == "df" else getattr(likelihood, f"log_{name}").exp()


def test_a_given_number_has_no_parameter_but_is_saved(kind):
    make, name, _ = kind
    assert not list(make(2.5).parameters())
    assert value_of(make(2.5), name).item() == pytest.approx(2.5)
    assert make(2.5).state_dict()[f"fixed_log_{name}"].item() == pytest.approx(math.log(2.5))


@pytest.mark.parametrize("raw", [-100.0, -10.0, -6.0, 0.0, 3.0])
def test_a_learned_number_has_a_lower_bound(kind, raw):
    make, name, bound = kind
    likelihood = make("learned")
    torch.nn.init.constant_(getattr(likelihood, f"raw_log_{name}"), raw)
    assert value_of(likelihood, name) >= bound * (1 - 1e-5)


def test_a_learned_scale_starts_at_one(kind):
    make, name, _ = kind
    assert value_of(make("learned"), name).item() == pytest.approx(2 if name == "df" else 1, rel=0.01)


def test_a_learned_number_finds_that_of_samples(kind):
    make, name, _ = kind
    truth = 3.0 if name == "df" else 0.1
    params = torch.full((10_000, 1, 1, 1), 0.5)
    x = make(truth).sample(params, generator(0, "test"))
    likelihood = make("learned")
    optimizer = torch.optim.Adam(likelihood.parameters(), lr=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        (-likelihood.log_prob(params[None], x).mean()).backward()
        optimizer.step()
    assert value_of(likelihood, name).item() == pytest.approx(truth, rel=0.1 if name == "df" else 0.03)


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, "0.5", "learnt", None, True])
def test_others_are_refused_by_name(kind, value):
    make, name, _ = kind
    with pytest.raises(ValueError, match=rf"^{name} must be a .*number"):
        make(value)

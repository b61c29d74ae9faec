"""The Student-t likelihood."""

import pytest
import torch
from torch.distributions import Normal, StudentT

from helpers.combinations import levels, normals
from vaelab.likelihood.student_t import StudentTLikelihood, log_gamma_ratio
from vaelab.ops import unit_interval
from vaelab.parts import DENSITY


@pytest.mark.parametrize("df", [1, 2.5, 30, 200])
@pytest.mark.parametrize("scale", [0.01, 1])
def test_log_prob_is_that_of_torch_distributions(df, scale):
    params, x = normals(5, 3, 2, 4, 6), unit_interval(levels(3, 2, 4, 6))
    expected = StudentT(df, params.double(), scale).log_prob(x).sum((-3, -2, -1)).float()
    torch.testing.assert_close(StudentTLikelihood(df, scale).log_prob(params, x), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("df", [1e5, 1e9])
def test_of_many_degrees_of_freedom_it_is_the_gaussian(df):
    params, x = normals(5, 3, 2, 4, 6), unit_interval(levels(3, 2, 4, 6))
    expected = Normal(params, 0.5).log_prob(x).sum((-3, -2, -1))
    torch.testing.assert_close(StudentTLikelihood(df, 0.5).log_prob(params, x), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("v", [0.5, 0.7, 1.0, 3.0, 20.0, 1e3, 1e6])
def test_the_ratio_of_gamma_functions_has_all_digits_of_its_value_and_gradient(v):
    found = torch.tensor(v, requires_grad=True)
    exact = torch.tensor(v, dtype=torch.float64, requires_grad=True)
    ratio, expected = log_gamma_ratio(found), torch.lgamma(exact + 0.5) - torch.lgamma(exact)
    assert ratio.item() == pytest.approx(expected.item(), abs=5e-7, rel=1e-6)
    ratio.backward()
    expected.backward()
    assert found.grad.item() == pytest.approx(exact.grad.item(), rel=1e-4)


def test_a_pixel_far_off_costs_little():
    far = torch.full((1, 1, 1, 1), 100.0)
    cost = [-StudentTLikelihood(df, 0.1).log_prob(torch.zeros(1, 1, 1, 1, 1), far).item() for df in (1, 1e6)]
    assert cost[0] < 20 < 1e4 < cost[1]


def test_it_is_a_density_and_scores_no_binary_pixels():
    assert StudentTLikelihood(2, 1).out_channels(3) == 3
    assert StudentTLikelihood(2, 1).pixels == {"levels": DENSITY}

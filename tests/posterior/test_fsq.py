"""Finite scalars: their levels, the straight-through gradient, and their codes."""

import math

import pytest
import torch

from helpers.combinations import normals
from helpers.small_training import assert_resumes_bit_for_bit
from vaelab.errors import UserError
from vaelab.posterior.fsq import FSQPosterior
from vaelab.run.build import Builder

B, F, D = 300, 6, 4
some_levels = pytest.mark.parametrize("levels", [2, 5, 8, [3, 2], [7, 5, 4, 2], [3]], ids=str)


def quantizer(levels, latent_dim=D):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return FSQPosterior(F, latent_dim, levels)


def by_dimension(levels):
    of_code = levels if isinstance(levels, list) else [levels]
    return (of_code * D)[:D]


@some_levels
def test_each_dimension_is_the_nearest_of_its_levels_to_the_tanh(levels):
    posterior, h = quantizer(levels), 3 * normals(B, F)
    z, bounded = posterior(h).z, posterior.head(h).tanh()
    for d, level in enumerate(by_dimension(levels)):
        grid = torch.linspace(-1, 1, level)
        nearest = grid[(bounded[:, d, None] - grid).abs().argmin(-1)]
        torch.testing.assert_close(z[:, d], nearest)
        assert len(nearest.unique()) == level  # all are reached


def test_an_odd_number_of_levels_is_the_rounding_of_the_paper():
    posterior, h = quantizer(5), 2 * normals(B, F)
    torch.testing.assert_close(posterior(h).z, (2 * posterior.head(h).tanh()).round() / 2)


@some_levels
def test_the_gradient_goes_straight_through_the_rounding(levels):
    posterior, h, weight = quantizer(levels), normals(B, F), normals(3, B, D, seed=2)
    z, _ = posterior(h).draw(torch.zeros(3, B, D))
    found = torch.autograd.grad((z * weight).sum(), posterior.head.parameters())
    expected = torch.autograd.grad((posterior.head(h).tanh() * weight).sum(), posterior.head.parameters())
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


@some_levels
def test_codes_name_the_rows_of_the_table_that_the_prior_is_uniform_over(levels):
    posterior, h = quantizer(levels), 3 * normals(B, F)
    q, of_code = posterior(h), levels if isinstance(levels, list) else [levels]
    assert q.num_codes == math.prod(of_code) == len(posterior.table) == len(posterior.table.unique(dim=0))
    assert q.codes.shape == (B, D // len(of_code))
    torch.testing.assert_close(posterior.table[q.codes].flatten(1), q.z)
    z, log_p = posterior.prior().draw(normals(B, D))
    assert len(z.unique(dim=0)) > min(B, q.num_codes) / 2
    torch.testing.assert_close(log_p, torch.full((B,), -math.log(math.prod(by_dimension(levels)))))


def test_the_prior_has_every_level_as_often():
    z, _ = quantizer(4).prior().draw(normals(20_000, D))
    for level in torch.linspace(-1, 1, 4):
        share = (z - level).abs().lt(1e-6).double().mean(0)
        assert ((share - 0.25).abs() < 4.5 * (0.25 * 0.75 / len(z)) ** 0.5).all()


def test_it_adds_no_loss_and_learns_no_table():
    posterior = quantizer(5)
    assert posterior(normals(B, F)).losses == {}
    assert {name for name, _ in posterior.named_parameters()} == {"head.weight", "head.bias"}
    assert posterior.state_dict().keys() == {"head.weight", "head.bias"}


def test_its_training_resumes_bit_for_bit(compose, tmp_path):
    config = compose(
        "dataset=digits", "logger=local", "model.hidden=[16]", "latent.dim=4", "posterior=fsq", "objective=rae"
    )
    assert_resumes_bit_for_bit(lambda: Builder(config, None).setup(), 1, tmp_path)


def test_an_objective_that_needs_a_density_is_refused_in_one_sentence(compose):
    config = compose("dataset=digits", "logger=local", "model.hidden=[16]", "posterior=fsq", "objective=elbo")
    with pytest.raises(UserError, match="Codes has no density, which its KL needs; choose objective=rae"):
        Builder(config, None).setup()


@pytest.mark.parametrize(
    ("levels", "sentence"),
    [
        (1, "levels must be an integer of at least 2, or a list of such, got 1"),
        ([], r"levels must be an integer of at least 2, or a list of such, got \[\]"),
        ([5, 1], r"levels must be an integer of at least 2, or a list of such, got \[5, 1\]"),
        (2.5, "levels must be an integer of at least 2, or a list of such, got 2.5"),
        ([5, 5, 5], "levels must be as many as latent.dim, 4, is a multiple of, got 3"),
        ([100, 100, 100, 100], "levels must make at most 65536 codes, got 100000000; use fewer"),
    ],
)
def test_a_setting_out_of_range_is_refused_with_a_sentence(levels, sentence):
    with pytest.raises(ValueError, match=sentence):
        quantizer(levels)

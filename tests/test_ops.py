"""Small pure functions of tensors."""

import math

import pytest
import torch

from combinations import normals
from vaelab.ops import binarize, bits_per_dim, generator, log_mean_exp, normal, uniform_like, unit_interval


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_log_mean_exp_is_the_log_of_the_mean_of_exp(dim):
    x = normals(5, 7).double()
    torch.testing.assert_close(log_mean_exp(x, dim), x.exp().mean(dim).log())


@pytest.mark.parametrize("offset", [-1e4, 1e4])
def test_log_mean_exp_does_not_overflow(offset):
    x = torch.tensor([0.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(log_mean_exp(x + offset, 0), log_mean_exp(x, 0) + offset)


@pytest.mark.parametrize("dims", [1, 784, 3072])
def test_guessing_among_256_levels_costs_8_bits_per_dimension(dims):
    assert bits_per_dim(dims * math.log(256), dims) == pytest.approx(8)


def draws(*arguments, count=1000):
    return torch.randn(count, generator=generator(*arguments))


def test_a_generator_is_a_function_of_seed_stream_and_index():
    first = draws(3, "order", 5)
    draws(4, "noise", 1)
    assert torch.equal(first, draws(3, "order", 5))


@pytest.mark.parametrize("other", [(4, "order", 5), (3, "noise", 5), (3, "order", 6), (3, "order"), (35, "order", 3)])
def test_streams_that_differ_in_one_of_the_three_are_uncorrelated(other):
    pair = torch.stack([draws(3, "order", 5, count=10_000), draws(*other, count=10_000)])
    assert abs(torch.corrcoef(pair)[0, 1]) < 0.05  # five standard deviations


def test_no_two_of_many_generators_begin_alike():
    seeds = {generator(seed, "train", step).initial_seed() for seed in range(50) for step in range(50)}
    assert len(seeds) == 2500


def test_a_generator_leaves_the_global_one_alone():
    before = torch.get_rng_state()
    draws(3, "order", 5)
    assert torch.equal(before, torch.get_rng_state())


def test_the_unit_interval_is_k_of_255_and_a_copy():
    levels = torch.arange(256, dtype=torch.uint8)
    x = unit_interval(levels)
    assert x.dtype == torch.float32
    torch.testing.assert_close(x, torch.arange(256) / 255)
    assert torch.equal(levels, torch.arange(256, dtype=torch.uint8))


def test_binarize_gives_a_one_with_probability_x():
    x = torch.linspace(0, 1, 11)
    drawn = binarize(x, uniform_like(x.expand(20_000, -1), generator(0, "test")))
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    spread = (x * (1 - x) / len(drawn)).sqrt()
    assert ((drawn.mean(0) - x).abs() <= 5 * spread).all()  # with no spread at 0 and at 1


def test_uniform_numbers_are_a_function_of_the_shape_and_the_generator():
    x = torch.full((100,), 0.5)
    first = uniform_like(x, generator(1, "test"))
    assert torch.equal(first, uniform_like(x, generator(1, "test")))
    assert not torch.equal(first, uniform_like(x, generator(2, "test")))
    assert (first >= 0).all()
    assert (first < 1).all()


def test_the_parts_of_a_generators_place_do_not_run_into_each_other():
    assert not torch.equal(draws(0, "a1", 2), draws(0, "a", 12))
    assert not torch.equal(draws(1, "2a", 0), draws(12, "a", 0))


def test_noise_is_drawn_where_the_generator_is_and_goes_where_it_is_wanted():
    x = torch.empty(3, 4, device="meta")
    assert (
        uniform_like(x, generator(0, "test")).device == normal((2,), generator(0, "test"), x.device).device == x.device
    )
    drawn = normal((50_000,), generator(0, "test"), torch.device("cpu"))
    assert torch.equal(drawn, normal((50_000,), generator(0, "test"), torch.device("cpu")))
    assert abs(drawn.mean().item()) < 5 / 50_000**0.5
    assert drawn.std().item() == pytest.approx(1, abs=0.02)

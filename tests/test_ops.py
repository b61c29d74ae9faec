"""Small pure functions of tensors."""

import math

import numpy as np
import pytest
import torch

from helpers.combinations import normals
from vaelab.ops import (
    WORDS_BYTES,
    _mersenne_state,
    binarize,
    bits_per_dim,
    generator,
    log_mean_exp,
    normal,
    uniform_like,
    unit_interval,
)


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


# Steps of seed 0 whose 63-bit seeds agreed in the 32 bits that `manual_seed` uses on the CPU.
@pytest.mark.parametrize("steps", [(18_874, 49_957), (65_921, 87_199), (64_311, 117_956)])
def test_steps_with_equal_noise_under_a_seed_of_32_bits_have_noise_of_their_own(steps):
    first, second = (draws(0, "train", step, count=10_000) for step in steps)
    assert abs(torch.corrcoef(torch.stack([first, second]))[0, 1]) < 0.05  # five standard deviations


def test_no_two_of_many_generators_begin_alike():
    generators = [generator(seed, "train", step) for seed in range(100) for step in range(100)]
    assert len({bytes(each.get_state()[WORDS_BYTES][:128].tolist()) for each in generators}) == 10_000
    assert len({each.initial_seed() for each in generators}) == 10_000


@pytest.mark.parametrize("seed", [0, 5, 2**32 - 1])
def test_the_state_is_laid_out_as_torch_does(seed):
    """The words that `manual_seed` gives, written into the state, give its draws, of which the first is twisted too."""
    words = [seed]
    for index in range(1, 624):  # Matsumoto & Nishimura, 1998
        words.append((1_812_433_253 * (words[-1] ^ words[-1] >> 30) + index) % 2**32)
    state = _mersenne_state(np.array([seed, 0], np.uint32), np.array(words, np.uint32))
    own, torchs = torch.Generator().set_state(state), torch.Generator().manual_seed(seed)
    assert torch.equal(own.get_state(), torchs.get_state())
    for count in (1, 7, 2000):
        assert torch.equal(torch.randn(count, generator=own), torch.randn(count, generator=torchs))


def test_the_first_numbers_of_many_generators_are_uniform_and_normal():
    """Where the words themselves were used, or few of them were filled, the first numbers would tell."""
    first = torch.stack([torch.rand(4, generator=generator(1, "train", index)) for index in range(20_000)])
    normal = torch.stack([draws(2, "train", index, count=20) for index in range(20_000)])
    assert (first.mean(0) - 0.5).abs().max() < 0.01  # five standard deviations
    assert (first.var(0) - 1 / 12).abs().max() < 0.003
    assert (first.mul(10).long().flatten().bincount() / 80_000 - 0.1).abs().max() < 0.006
    assert normal.mean(0).abs().max() < 0.035
    assert (normal.var(0) - 1).abs().max() < 0.05
    correlations = torch.corrcoef(normal.T) - torch.eye(20)
    assert correlations.abs().max() < 0.04


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

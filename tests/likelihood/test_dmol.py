"""The mixture of discretized logistics with dependent channels."""

import pytest
import torch

from helpers.combinations import levels, normals
from vaelab.likelihood.dmol import DiscretizedLogisticMixtureLikelihood
from vaelab.likelihood.logistic import LogisticLikelihood
from vaelab.ops import generator, unit_interval
from vaelab.parts import MASS

LEVELS = torch.arange(256) / 255
COUPLINGS = {1: 0, 2: 1, 3: 3}


def laid_out(params, components, channels=3):
    """Log weights, centres, log scales and couplings (M,), each by component, as the decoder is to give them."""
    log_weights, centres, *others = params.unflatten(-1, (-1, components)).split(
        [1, channels, channels, COUPLINGS[channels]]
    )
    first, *rest = centres.unbind(-1)  # (channels,) of each component
    centres = torch.stack([first, *(each - first for each in rest)])
    return torch.cat([each.flatten() for each in (centres, *others, log_weights)])


def log_probs(likelihood, params, x):
    """log p of pixels x (V, C) under the parameters of `laid_out`."""
    given = laid_out(params, likelihood.components, x.shape[1]).expand(len(x), -1)[None, :, :, None, None]
    return likelihood.log_prob(given, x[:, :, None, None])[0]


def of_first(params, components, channels):
    """The parameters of the first channels, alone, of those of RGB."""
    log_weights, centres, log_scales, couplings = params.unflatten(-1, (10, components)).split([1, 3, 3, 3], -2)
    kept = [
        centres[..., :channels, :],
        log_scales[..., :channels, :],
        couplings[..., : channels * (channels - 1) // 2, :],
    ]
    return torch.cat([log_weights, *kept], -2).flatten(-2)


def one_pixel(components, seed=0):
    """Parameters of one RGB pixel, broad enough for all levels to count and with strong couplings."""
    params = normals(10, components, seed=seed)
    params[1:4] *= 0.5
    params[4:7] -= 2
    params[7:] *= 2
    return params.flatten()


def test_the_masses_of_all_pairs_of_levels_sum_to_one():
    likelihood = DiscretizedLogisticMixtureLikelihood(3)
    params = of_first(one_pixel(3), 3, 2)
    pairs = torch.cartesian_prod(LEVELS, LEVELS)
    assert log_probs(likelihood, params, pairs).double().exp().sum().item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("channels", [2, 3])
def test_summed_over_the_last_channel_they_are_those_of_the_channels_before(channels):
    likelihood = DiscretizedLogisticMixtureLikelihood(4)
    params = of_first(one_pixel(4), 4, channels)
    before = unit_interval(levels(6, channels - 1))
    for values in before:
        x = torch.cat([values.expand(256, -1), LEVELS[:, None]], -1)
        summed = log_probs(likelihood, params, x).double().logsumexp(0)
        expected = log_probs(likelihood, of_first(one_pixel(4), 4, channels - 1), values[None])[0]
        assert summed.item() == pytest.approx(expected.item(), abs=1e-4)


def test_the_masses_are_those_of_the_paper():
    components = 3
    params, x = one_pixel(components).double(), unit_interval(levels(50, 3)).double()
    log_weights, centres, log_scales, couplings = params.view(10, components).split([1, 3, 3, 3])
    r, g, b = (2 * x - 1).unsqueeze(-1).unbind(1)  # (V, 1) each
    c = couplings.tanh()
    moved = [centres[0].expand(50, -1), centres[1] + c[0] * r, centres[2] + c[1] * r + c[2] * g]
    mass = log_weights[0].softmax(0).expand(50, -1)
    for value, mean, log_scale in zip((r, g, b), moved, log_scales, strict=True):
        above = torch.sigmoid((value + 1 / 255 - mean) / log_scale.exp()).masked_fill(value > 0.999, 1)
        below = torch.sigmoid((value - 1 / 255 - mean) / log_scale.exp()).masked_fill(value < -0.999, 0)
        mass = mass * (above - below)
    found = log_probs(DiscretizedLogisticMixtureLikelihood(components), params.float(), x.float())
    torch.testing.assert_close(found, mass.sum(-1).log().float(), rtol=1e-3, atol=1e-3)


def test_samples_of_each_channel_have_their_distribution_given_those_before():
    """By what is uniform if they do: P(X < x) + u P(X = x), of the channel given the channels before."""
    components, count = 2, 1000
    likelihood, params = DiscretizedLogisticMixtureLikelihood(components), one_pixel(components)
    given = laid_out(params, components).view(1, -1, 1, 1).expand(count, -1, -1, -1)
    drawn = likelihood.sample(given, generator(0, "test")).view(count, 3)
    for channel in range(3):
        before = drawn[:, None, :channel].expand(-1, 256, -1)
        x = torch.cat([before, LEVELS.view(1, 256, 1).expand(count, -1, -1)], -1).flatten(0, 1)
        masses = log_probs(likelihood, of_first(params, components, channel + 1), x).view(count, 256).softmax(-1)
        level = (drawn[:, [channel]] * 255).round().long()
        mass = masses.gather(1, level)
        uniform = masses.cumsum(-1).gather(1, level) - mass + mass * torch.rand(count, 1, generator=generator(1, "u"))
        empirical = torch.arange(1, count + 1) / count
        assert (uniform.flatten().sort().values - empirical).abs().max() < 1.95 / count**0.5


def test_the_mean_is_that_of_samples_where_little_is_cut_off():
    components, count = 3, 40_000
    likelihood, params = DiscretizedLogisticMixtureLikelihood(components), one_pixel(components)
    params = params.view(10, components)
    params[1:4] *= 0.3
    params[4:7] -= 1
    params = laid_out(params.flatten(), components).view(1, -1, 1, 1)
    drawn = likelihood.sample(params.expand(count, -1, -1, -1), generator(0, "test"))
    torch.testing.assert_close(likelihood.mean(params)[0], drawn.mean(0), rtol=0, atol=0.005)


def test_of_one_component_without_couplings_it_is_the_discretized_logistic():
    params, x = normals(2, 3, 6, 4, 4), unit_interval(levels(3, 3, 4, 4))
    given = torch.cat([params, torch.zeros(2, 3, 3, 4, 4), normals(2, 3, 1, 4, 4)], 2)
    likelihood = DiscretizedLogisticMixtureLikelihood(1)
    torch.testing.assert_close(likelihood.log_prob(given, x), LogisticLikelihood().log_prob(params, x))
    torch.testing.assert_close(likelihood.mean(given[0]), LogisticLikelihood().mean(params[0]))


def test_far_in_the_tails_the_log_mass_falls_in_proportion_to_the_distance():
    params = torch.tensor([0.0, -50.0, -2.0]).view(3, 1).expand(3, 2).flatten()
    found = log_probs(DiscretizedLogisticMixtureLikelihood(2), params, LEVELS[1:255, None])
    torch.testing.assert_close(found.diff(), torch.full((253,), -2 / 255 * torch.tensor(2.0).exp()), rtol=5e-2, atol=0)


@pytest.mark.parametrize("components", [0, 2.5, "ten", True])
def test_other_numbers_of_components_are_refused(components):
    with pytest.raises(ValueError, match="components must be an integer"):
        DiscretizedLogisticMixtureLikelihood(components)


def test_it_is_a_mass_on_the_256_levels_only_of_a_hundred_numbers_for_rgb():
    likelihood = DiscretizedLogisticMixtureLikelihood(10)
    assert [likelihood.out_channels(channels) for channels in (1, 2, 3, 4)] == [30, 60, 100, 150]
    assert likelihood.pixels == {"levels": MASS}


def test_what_is_added_to_the_first_channels_moves_the_centres_of_all_components():
    likelihood, params = DiscretizedLogisticMixtureLikelihood(4), laid_out(one_pixel(4), 4).view(1, -1, 1, 1)
    moved = params.clone()
    moved[:, :3] += 0.3
    (_, before, *_), (_, after, *_) = (likelihood._split(each) for each in (params, moved))
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(other, one + 0.3)

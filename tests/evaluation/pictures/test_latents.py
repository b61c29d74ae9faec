"""Pictures of latent space show the points that their titles and labels say."""

import math

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch import nn

from helpers.fakes import labelled_vae, small_dataset, small_vae
from helpers.ladders import small_ladder
from vaelab.conditional.labels import Moved
from vaelab.distributions import Normal, StandardNormal
from vaelab.evaluation.pictures import latents
from vaelab.evaluation.pictures.latents import (
    draw_interpolations,
    draw_kl_by_dimension,
    draw_posterior_means,
    draw_samples_by_temperature,
    draw_traversals,
    lerp,
    principal_components,
    slerp,
)
from vaelab.evaluation.pictures.shown import Shown
from vaelab.model.ladder import Ladder
from vaelab.ops import generator
from vaelab.posterior.delta import DeltaPosterior
from vaelab.posterior.fsq import FSQPosterior
from vaelab.vae import VAE

pytestmark = pytest.mark.usefixtures("no_gradient")


@pytest.fixture
def no_gradient():
    with torch.no_grad():
        yield


@pytest.fixture
def dataset():
    return small_dataset(kinds=10)


@pytest.fixture
def drawn(monkeypatch):
    """The arguments of the grids that are drawn: images, columns, title, labels of rows, heads of columns."""
    grids, labelled_grid = [], latents.labelled_grid

    def remember(*given):
        grids.append(given)
        return labelled_grid(*given)

    monkeypatch.setattr(latents, "labelled_grid", remember)
    return grids


def decoded_by(vae):
    """A list to which all latents are added that are decoded from now on."""
    latents = []
    vae.decoder.register_forward_hook(lambda module, given, out: latents.append(given[0].clone()))
    return latents


class OtherPrior(nn.Module):
    """N(5, 4) of another class than Normal, to which no KL is known in closed form."""

    def forward(self, infer):
        return Moved(StandardNormal(), torch.full((), 5.0), torch.full((3,), math.log(4)))


class LearnedNormal(nn.Module):
    """N(-1, 9)."""

    def forward(self, infer):
        return Normal(torch.full((1, 3), -1.0), torch.full((1, 3), math.log(9)))


def vae_of(posterior=None, prior=None, latent_dim=3):
    vae = small_vae(latent_dim, prior)
    return VAE(vae.encoder, vae.decoder, posterior or vae.posterior, vae.prior, vae.likelihood, latent_dim)


def directions(count, dim, seed=0):
    return nn.functional.normalize(torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)), dim=-1)


# Ways


@pytest.mark.parametrize("way", [lerp, slerp])
def test_a_way_ends_at_its_ends(way):
    first, last = 3 * directions(50, 7), 0.5 * directions(50, 7, seed=1)
    z = way(first, last, torch.linspace(0, 1, 11))
    assert z.shape == (50, 11, 7)
    torch.testing.assert_close(z[:, 0], first)
    torch.testing.assert_close(z[:, -1], last)


def test_a_spherical_way_keeps_the_norm_and_turns_evenly():
    first, last = 3 * directions(50, 7), 3 * directions(50, 7, seed=1)
    z = slerp(first, last, torch.linspace(0, 1, 11))
    torch.testing.assert_close(z.norm(dim=-1), torch.full((50, 11), 3.0))
    steps = (z[:, 1:] * z[:, :-1]).sum(-1).div(9).acos()
    torch.testing.assert_close(steps, steps[:, :1].expand(-1, 10), atol=1e-3, rtol=1e-3)


def test_the_norm_of_a_spherical_way_goes_evenly_from_one_to_the_other():
    z = slerp(directions(50, 7), 5 * directions(50, 7, seed=1), torch.linspace(0, 1, 5))
    torch.testing.assert_close(z.norm(dim=-1), torch.arange(1.0, 6.0).expand(50, -1))


def test_a_spherical_way_through_a_right_angle_is_an_arc_of_a_circle():
    t = torch.linspace(0, 1, 7)
    z = slerp(torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0]), t)
    torch.testing.assert_close(z, 2 * torch.stack([(t * math.pi / 2).cos(), (t * math.pi / 2).sin()], -1))


@pytest.mark.parametrize("factor", [1.0, 2.0, -1.0, 0.0])
def test_points_on_one_line_have_a_straight_way(factor):
    first, t = directions(5, 4), torch.linspace(0, 1, 5)
    z = slerp(first, factor * first, t)
    assert z.isfinite().all()
    torch.testing.assert_close(z, lerp(first, factor * first, t), atol=1e-5, rtol=1e-5)


def test_points_nearly_on_one_line_have_a_way_between_them():
    first = directions(20, 6)
    last = first + 1e-4 * directions(20, 6, seed=1)
    z = slerp(first, last, torch.linspace(0, 1, 5))
    torch.testing.assert_close(z, lerp(first, last, torch.linspace(0, 1, 5)), atol=1e-6, rtol=0)


# Interpolations


def test_every_row_goes_from_an_image_over_its_reconstruction_to_the_others(dataset, drawn):
    vae = small_vae()
    draw_interpolations(Shown(vae, dataset, 1))
    ((images, columns, title, rows, heads),) = drawn
    x = dataset.pixels(dataset.train.images[:8], None)
    found, again = images.view(4, 2, columns, 1, 8, 8), vae.reconstruct(x)
    for way in range(2):
        torch.testing.assert_close(found[:, way, [0, -1]].flatten(0, 1), x)
        torch.testing.assert_close(found[:, way, [1, -2]].flatten(0, 1), again)
    assert (found[:, 0, columns // 2] - found[:, 1, columns // 2]).abs().amax((1, 2, 3)).min() > 1e-6
    assert rows == [f"pair {pair}\n{way}" for pair in range(1, 5) for way in ("straight", "spherical")]
    assert heads == ["image", *(f"0.{i}" for i in range(10)), "1.0", "image"]
    assert title.startswith("small, epoch 1")


def test_the_points_of_a_row_lie_on_its_way(dataset):
    vae = small_vae()
    latents = decoded_by(vae)
    draw_interpolations(Shown(vae, dataset, 1))
    first, last = vae.embed(dataset.pixels(dataset.train.images[:8], None)).view(4, 2, 3).unbind(1)
    t = torch.linspace(0, 1, 11)
    expected = torch.stack([lerp(first, last, t), slerp(first, last, t)], 1).flatten(0, 2)
    torch.testing.assert_close(latents[0], expected)


def test_one_dimension_has_no_arc_and_a_sphere_no_straight_line(dataset, drawn):
    sphere = small_vae()
    sphere.posterior.space = "sphere"
    for vae in (small_vae(1), sphere):
        draw_interpolations(Shown(vae, dataset, 1))
    line, arc = ({row.split("\n")[1] for row in rows} for _, _, _, rows, _ in drawn)
    assert (line, arc) == ({"straight"}, {"spherical"})


def test_a_conditional_model_goes_between_images_of_one_class(dataset):
    vae, given = labelled_vae(), []
    vae.decoder.register_forward_hook(lambda module, arguments, out: given.append(arguments[1]))
    assert draw_interpolations(Shown(vae, dataset, 1)) is not None
    assert given[0].tolist() == [label for label in range(4) for _ in range(2 * 11)]


@pytest.mark.parametrize("val_size", [1, 3])
def test_few_images_make_few_pairs(val_size, drawn):
    picture = draw_interpolations(Shown(small_vae(), small_dataset(val_size=val_size), 1))
    assert (picture is None) == (val_size < 2)
    assert [len(rows) for *_, rows, _ in drawn] == [2] * (val_size // 2)


# Traversals


class KnownPosterior(nn.Module):
    """N(means, 1): its KL to a standard normal is half of the square of each mean."""

    means = (0.0, 2.0, 1.0)

    def forward(self, h):
        mean = torch.tensor(self.means).expand(len(h), -1)
        return Normal(mean, torch.zeros_like(mean))


def test_each_row_changes_one_dimension_and_the_first_is_that_of_the_largest_kl(dataset, drawn):
    vae = vae_of(KnownPosterior())
    latents = decoded_by(vae)
    draw_traversals(Shown(vae, dataset, 1))
    z = latents[-1].view(3, 13, 3)
    for row, dimension in enumerate((1, 2, 0)):
        torch.testing.assert_close(z[row, :, dimension], torch.linspace(-3, 3, 13))
        others = [other for other in range(3) if other != dimension]
        assert torch.equal(z[row][:, others], torch.tensor(KnownPosterior.means)[others].expand(13, -1))
    ((images, columns, _, rows, heads),) = drawn
    assert rows == ["z2\n2.00 nats", "z3\n0.50 nats", "z1\n0.00 nats"]
    assert heads[1] == "-3.0"
    assert heads[-1] == "3.0"
    assert columns == len(heads) == 14
    original = dataset.pixels(dataset.train.images[:1], None)
    assert torch.equal(images.view(3, 14, 1, 8, 8)[:, 0], original.expand(3, -1, -1, -1))


@pytest.mark.parametrize(("prior", "mean", "std"), [(OtherPrior(), 5, 2), (LearnedNormal(), -1, 3)])
def test_a_row_goes_over_the_standard_deviations_of_the_prior(prior, mean, std, dataset):
    vae = small_vae(prior=prior)
    latents = decoded_by(vae)
    draw_traversals(Shown(vae, dataset, 1))
    rows = latents[-1].view(3, 13, 3)
    changed = [row[:, (row.amax(0) - row.amin(0)).argmax()] for row in rows]
    expected = mean + std * torch.linspace(-3, 3, 13)
    for found in changed:
        torch.testing.assert_close(found, expected, atol=0.1 * std, rtol=0)


def test_where_the_kl_is_not_known_by_dimension_the_most_varied_come_first(dataset, drawn):
    shown = Shown(small_vae(prior=OtherPrior()), dataset, 1)
    draw_traversals(shown)
    variances = shown.embeddings.var(0, correction=0)
    order = variances.argsort(descending=True).tolist()
    assert drawn[0][3] == [f"z{dimension + 1}\nvariance {variances[dimension]:.2f}" for dimension in order]


def test_no_more_than_ten_dimensions_are_shown(dataset, drawn):
    draw_traversals(Shown(small_vae(12), dataset, 1))
    assert len(drawn[0][3]) == 10


def test_the_traversals_of_a_conditional_model_are_of_the_images_own_class(dataset):
    vae, given = labelled_vae(), []
    vae.decoder.register_forward_hook(lambda module, arguments, out: given.append(arguments[1]))
    dataset.train.labels[0] = 3
    draw_traversals(Shown(vae, dataset, 1))
    assert (given[-1] == 3).all()


# The KL of each dimension


def heights(axis):
    """From left to right."""
    return [bar.get_height() for bar in sorted(axis.patches, key=lambda bar: bar.get_x())]


def names(axis):
    return [text.get_text() for text in axis.get_xticklabels()]


def test_bars_are_the_kl_of_each_dimension_the_largest_first(dataset):
    (axis,) = draw_kl_by_dimension(Shown(vae_of(KnownPosterior()), dataset, 1)).axes
    assert heights(axis) == pytest.approx([2.0, 0.5, 0.0])
    assert names(axis) == ["2", "3", "1"]
    assert "nats" in axis.get_ylabel()


class TwoVary(nn.Module):
    """The first two dimensions depend on the image, the second of them hardly; the third has a constant mean."""

    def forward(self, h):
        varied = nn.functional.normalize(h[:, :1], dim=0) * len(h) ** 0.5  # a mean square of one
        mean = torch.cat([varied, 0.05 * varied, torch.ones_like(varied)], -1)
        return Normal(mean, torch.zeros_like(mean))


def test_dimensions_whose_mean_varies_are_active(dataset):
    (axis,) = draw_kl_by_dimension(Shown(vae_of(TwoVary()), dataset, 1)).axes
    words = [text.get_text() for text in axis.get_legend().get_texts()]
    assert [word.split(" ")[0] for word in words] == ["1", "2"]
    colors = {
        name: bar.get_facecolor()
        for name, bar in zip(names(axis), sorted(axis.patches, key=lambda b: b.get_x()), strict=True)
    }
    assert colors["2"] == colors["3"] != colors["1"]


def test_a_ladders_bars_are_its_groups_from_the_top_down(dataset):
    ladder = small_ladder()
    (axis,) = draw_kl_by_dimension(Shown(ladder, dataset, 1)).axes
    assert names(axis) == ["1", "2"]
    x = dataset.pixels(dataset.train.images, None)
    trace = ladder(x, ladder.noise(1, len(x), generator(0, "KL of pictures", 0)))
    assert heights(axis) == pytest.approx([group.kl.sum(-1).mean().item() for group in trace.latents], rel=1e-5)


# Posterior means


def test_principal_components_are_scikit_learns():
    points = (
        torch.randn(200, 5, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 5.0, 2.0, 0.1, 3.0]) + 7
    )
    found, shares = principal_components(points)
    expected = PCA(2).fit(points.numpy())
    assert shares == pytest.approx(expected.explained_variance_ratio_.tolist(), rel=1e-4)
    np.testing.assert_allclose(found.abs().numpy(), np.abs(expected.transform(points.numpy())), atol=1e-3)
    assert np.corrcoef(found[:, 0], points[:, 1])[0, 1] > 0.99  # the largest weight is positive
    assert np.corrcoef(found[:, 1], points[:, 4])[0, 1] > 0.9


def test_equal_points_have_no_variance_to_share():
    found, shares = principal_components(torch.ones(10, 4))
    assert not found.any()
    assert shares == [0, 0]


@pytest.mark.parametrize("latent_dim", [2, 5])
def test_the_map_has_every_image_in_the_colour_of_its_label(latent_dim, dataset):
    vae = small_vae(latent_dim)
    shown = Shown(vae, dataset, 1)
    (axis,) = draw_posterior_means(shown).axes
    (points,) = axis.collections
    expected = shown.embeddings if latent_dim == 2 else principal_components(shown.embeddings)[0]
    assert np.allclose(points.get_offsets(), expected)
    assert np.array_equal(points.get_array(), dataset.train.labels)
    assert ("% of the variance" in axis.get_xlabel()) == (latent_dim > 2)


def test_a_map_needs_three_images_and_finite_means():
    assert draw_posterior_means(Shown(small_vae(), small_dataset(val_size=2), 1)) is None
    vae = small_vae()
    vae.posterior.register_forward_hook(lambda module, given, q: Normal(q.mean * torch.inf, q.log_var))
    assert draw_posterior_means(Shown(vae, small_dataset(), 1)) is None


# Samples by temperature


@pytest.mark.parametrize("prior", [None, OtherPrior(), LearnedNormal()])
def test_the_temperature_scales_the_same_noise_of_each_column(prior, dataset, drawn):
    vae = small_vae(prior=prior)
    latents = decoded_by(vae)
    draw_samples_by_temperature(Shown(vae, dataset, 1))
    centre = {OtherPrior: 5.0, LearnedNormal: -1.0}.get(type(prior), 0.0)
    cold, cool, usual, hot = (z - centre for z in latents)
    for z, temperature in ((cold, 0.5), (cool, 0.7), (hot, 1.2)):
        torch.testing.assert_close(z, temperature * usual, atol=1e-5, rtol=1e-5)
    assert usual.std() > 0.5
    ((_, columns, title, rows),) = drawn
    assert rows == ["T = 0.5", "T = 0.7", "T = 1.0", "T = 1.2"]
    assert columns == len(usual)
    assert ("noise" in title.split(";")[1]) == isinstance(prior, OtherPrior)


class WarmLadder(Ladder):
    def sample(self, count, generator, y=None, pixel_noise=False, temperature=1.0):
        self.seen = [*getattr(self, "seen", []), (temperature, generator.initial_seed(), generator.get_state())]
        return temperature / 2 * super().sample(count, generator, y, pixel_noise)


class PlainLadder(Ladder):
    def sample(self, count, generator, y=None, pixel_noise=False):
        return super().sample(count, generator, y, pixel_noise)


def test_a_ladder_is_sampled_by_its_own_temperature_or_not_at_all(dataset, drawn):
    warm, other = map(small_ladder, (WarmLadder, PlainLadder))
    assert draw_samples_by_temperature(Shown(other, dataset, 1)) is None
    draw_samples_by_temperature(Shown(warm, dataset, 1))
    assert [temperature for temperature, *_ in warm.seen] == [0.5, 0.7, 1.0, 1.2]
    assert all(torch.equal(state, warm.seen[0][2]) for *_, state in warm.seen)
    images = drawn[0][0].view(4, -1, 1, 8, 8)
    torch.testing.assert_close(images[0], images[2] / 2)


# What does not apply is left out


def whole(dataset):
    return small_ladder()


def codes(dataset):
    return vae_of(FSQPosterior(8, 3, levels=8))


def on_a_sphere(dataset):
    vae = small_vae()
    vae.posterior.space = "sphere"
    return vae


ALL = (draw_interpolations, draw_traversals, draw_kl_by_dimension, draw_posterior_means, draw_samples_by_temperature)


@pytest.mark.parametrize(
    ("model", "applies"),
    [
        (lambda dataset: small_vae(), ALL),
        (lambda dataset: small_vae(1), (draw_interpolations, draw_traversals, draw_samples_by_temperature)),
        (lambda dataset: labelled_vae(), ALL),
        (lambda dataset: small_vae(prior=OtherPrior()), [draw for draw in ALL if draw is not draw_kl_by_dimension]),
        (lambda dataset: vae_of(DeltaPosterior(8, 3)), [draw for draw in ALL if draw is not draw_kl_by_dimension]),
        (whole, (draw_kl_by_dimension, draw_posterior_means, draw_samples_by_temperature)),
        (codes, (draw_posterior_means,)),
        (on_a_sphere, (draw_interpolations, draw_kl_by_dimension, draw_posterior_means)),
    ],
)
def test_pictures_are_drawn_of_the_models_that_they_can_show(model, applies, dataset):
    model = model(dataset).eval()
    assert [draw for draw in ALL if draw(Shown(model, dataset, 1)) is not None] == [*applies]

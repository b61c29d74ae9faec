"""What a run draws depends on its model and its data alone."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from helpers.fakes import Killed, labelled_vae, pixels, small_dataset, small_vae
from vaelab.dataset.images import Dataset, Split
from vaelab.errors import UserError
from vaelab.evaluation.evaluator import nothing
from vaelab.evaluation.pictures import draw as module
from vaelab.evaluation.pictures.draw import draw_pictures
from vaelab.prior.normal import NormalPrior
from vaelab.vae import VAE

OF_EPOCH = ["samples.png", "reconstructions.png"]
OF_TWO = [*OF_EPOCH, "latent_plane.png", "posterior_means.png"]
OF_RUN = ["interpolations.png", "traversals.png", "kl_by_dimension.png", "samples_by_temperature.png"]


def draw(run_dir, latent_dim=3, may_stop=nothing, picture_format="png", is_last=False, **options):
    """Draw the pictures of a small model; their paths by their names."""
    dataset = small_dataset(**options, kinds=10)
    names = draw_pictures(small_vae(latent_dim), dataset, run_dir, 7, may_stop, picture_format, is_last)
    return {name: run_dir / name for name in names}


def test_drawing_leaves_torchs_generator_alone(tmp_path):
    before = torch.get_rng_state()
    draw(tmp_path, latent_dim=2, binarize="dynamic", is_last=True)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("latent_dim", "expected"), [(3, OF_EPOCH), (1, OF_EPOCH), (2, OF_TWO)])
def test_two_latent_dimensions_give_maps_of_them(latent_dim, expected, tmp_path):
    drawn = draw(tmp_path, latent_dim)
    assert [*drawn] == expected
    assert all(pixels(path).std() > 0 for path in drawn.values())
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {*drawn, "images/samples-0007.png"}


@pytest.mark.parametrize(
    ("latent_dim", "expected"),
    [
        (3, [*OF_EPOCH, "posterior_means.png", *OF_RUN]),
        (2, [*OF_TWO, *OF_RUN]),
        (1, [*OF_EPOCH, "interpolations.png", "traversals.png", "samples_by_temperature.png"]),
    ],
)
def test_the_last_epoch_has_pictures_of_the_latent_space(latent_dim, expected, tmp_path):
    drawn = draw(tmp_path, latent_dim, is_last=True)
    assert [*drawn] == expected
    assert all(pixels(path).std() > 0 for path in drawn.values())
    assert {path.removesuffix(".png") for path in drawn} <= {*module.PICTURES}


def test_the_last_epoch_makes_an_animation_of_all(tmp_path):
    dataset = small_dataset(kinds=10)
    for epoch in (1, 2, 3):
        vae = small_vae()
        torch.nn.init.constant_(next(vae.decoder.parameters()), epoch)
        assert not (tmp_path / "samples.gif").exists()
        names = draw_pictures(vae, dataset, tmp_path, epoch, nothing, is_last=epoch == 3)
        assert ("samples.gif" in names) == (epoch == 3)
    with Image.open(tmp_path / "samples.gif") as animation:
        assert animation.n_frames == 3


@pytest.mark.slow
@pytest.mark.parametrize("picture_format", ["pdf", "svg"])
def test_every_picture_is_written_in_the_format_that_is_wanted_too(picture_format, tmp_path):
    drawn = draw(tmp_path, latent_dim=2, picture_format=picture_format, is_last=True)
    for path in drawn.values():
        start = path.with_suffix(f".{picture_format}").read_bytes()[:100]
        assert (b"%PDF-" if picture_format == "pdf" else b"<?xml") in start
    assert {path.suffix for path in (tmp_path / "images").iterdir()} == {".png"}


def test_the_samples_of_every_epoch_are_kept(tmp_path):
    draw(tmp_path)
    assert (tmp_path / "images" / "samples-0007.png").read_bytes() == (tmp_path / "samples.png").read_bytes()


@pytest.mark.parametrize("binarize", ["none", "dynamic", "static"])
def test_drawing_twice_gives_the_same_pictures(binarize, tmp_path):
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        draw(tmp_path / folder, latent_dim=2, binarize=binarize, is_last=True)
    assert len([*(tmp_path / "first").glob("*.png")]) == 8
    for path in (tmp_path / "first").glob("*.png"):
        assert np.array_equal(pixels(path), pixels(tmp_path / "second" / path.name))


@pytest.mark.parametrize("binarize", ["none", "dynamic", "static"])
def test_originals_are_drawn_as_the_model_sees_them(binarize, tmp_path):
    first = pixels(draw(tmp_path, binarize=binarize)["reconstructions.png"])[-6 * 58 : -5 * 58]  # the first of six rows
    assert (len(np.unique(first)) == 2) == (binarize != "none")


@pytest.mark.parametrize("val_size", [0, 30])
def test_validation_images_are_reconstructed_or_without_them_training_images(val_size, tmp_path):
    dataset = small_dataset(val_size=val_size)
    row = pixels(draw(tmp_path, val_size=val_size)["reconstructions.png"])[-6 * 58 : -5 * 58]
    expected = (dataset.val if val_size else dataset.train).images[0, 0].numpy()
    assert np.array_equal(row[: 7 * 8 : 7, 2 : 2 + 7 * 8 : 7, 0], expected)


@pytest.mark.parametrize("done", range(9))
def test_drawing_can_be_stopped_before_each_picture(done, tmp_path):
    calls = iter([None] * done)

    def may_stop():
        if next(calls, Killed) is Killed:
            raise Killed

    with pytest.raises(Killed):
        draw(tmp_path, latent_dim=2, may_stop=may_stop, is_last=True)
    assert {path.name for path in tmp_path.glob("*.*")} == {*[*OF_TWO, *OF_RUN][:done]}


class Brightness(nn.Module):
    """A decoder to whole images with one latent's value as their logit."""

    def __init__(self, dimension):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.dimension = dimension

    def forward(self, z):
        return (self.scale * z[:, self.dimension])[:, None, None, None].expand(-1, 1, 8, 8)


@pytest.mark.parametrize("dimension", [0, 1])
def test_the_latent_plane_has_z1_to_the_right_and_z2_upwards(dimension, tmp_path):
    vae = small_vae(latent_dim=2)
    vae = VAE(vae.encoder, Brightness(dimension), vae.posterior, vae.prior, vae.likelihood, 2)
    draw_pictures(vae, small_dataset(kinds=10), tmp_path, 1, nothing)
    size = 16 * 58 + 2
    plane = pixels(tmp_path / "latent_plane.png")[-size:, :size, 0][30::58, 30::58].astype(int)  # a pixel of each image
    assert plane.shape == (16, 16)
    along = np.diff(plane, axis=1) if dimension == 0 else -np.diff(plane, axis=0)
    across = np.diff(plane, axis=1 - (1 if dimension == 0 else 0))
    assert (along > 0).all()
    assert (across == 0).all()


class LogNormalPrior(nn.Module):
    """z1 = exp(e1), z2 = 3 - e2 / 2 for standard normal e: quantiles that are known and none of a standard normal."""

    def forward(self, infer):
        return self

    def draw(self, eps):
        return torch.stack([eps[:, 0].exp(), 3 - eps[:, 1] / 2], dim=-1), None


@pytest.mark.parametrize("prior", [NormalPrior(), LogNormalPrior()])
def test_the_latent_plane_goes_through_the_quantiles_of_the_priors_own_marginals(prior, tmp_path, monkeypatch):
    vae, decoded, titles = small_vae(latent_dim=2, prior=prior), [], []
    vae.decoder.register_forward_hook(lambda module, arguments, out: decoded.append(arguments[0]))
    drawn = module.labelled_grid

    def labelled_grid(images, columns, title):
        titles.append(title)
        return drawn(images, columns, title)

    monkeypatch.setattr(module, "labelled_grid", labelled_grid)
    for _ in range(2):
        draw_pictures(vae, small_dataset(kinds=10), tmp_path, 1, nothing)
    (plane, again) = (z.view(16, 16, 2) for z in decoded if len(z) == 256)
    normal = torch.special.ndtri((torch.arange(16) + 0.5) / 16)
    z1, z2 = (normal, normal) if isinstance(prior, NormalPrior) else (normal.exp(), 3 + normal / 2)
    torch.testing.assert_close(plane[0, :, 0], z1, rtol=0.03, atol=0.02)
    torch.testing.assert_close(plane[:, 0, 1], z2.flip(0), rtol=0.03, atol=0.02)
    assert (plane[..., 0] == plane[:1, :, 0]).all()
    assert (plane[..., 1] == plane[:, :1, 1]).all()
    assert torch.equal(plane, again)
    assert any("quantiles of p(z1), to the right, and p(z2), upwards" in title for title in titles)


def test_pictures_need_no_labels(tmp_path):
    images = small_dataset().train.images
    dataset = Dataset("bare", lambda part: Split(images), 30, "dynamic")
    draw_pictures(small_vae(latent_dim=2), dataset, tmp_path, 1, nothing)
    assert pixels(tmp_path / "posterior_means.png").std() > 0


@pytest.mark.parametrize(("kinds", "rows"), [(10, 10), (3, 3), (40, 16)])
def test_a_conditional_model_draws_a_row_of_samples_for_each_class(kinds, rows, tmp_path):
    dataset = small_dataset(val_size=30, kinds=kinds)
    draw_pictures(labelled_vae(), dataset, tmp_path, 1, nothing)
    tiles = pixels(tmp_path / "samples.png")[-rows * 58 - 2 :, -8 * 58 - 2 :]
    shades = tiles[30::58, 30::58, 0]
    expected = torch.arange(rows).float().sigmoid().mul(255).round().byte()  # the label is the logit of every pixel
    assert np.array_equal(shades, expected[:, None].expand(-1, 8))


def test_a_conditional_model_reconstructs_with_the_images_own_labels(tmp_path):
    vae, given = labelled_vae(), []
    vae.decoder.register_forward_hook(lambda module, arguments, out: given.append(arguments[1]))
    dataset = small_dataset(val_size=30, kinds=10)
    assert draw_pictures(vae, dataset, tmp_path, 1, nothing) == [*OF_EPOCH, "posterior_means.png"]
    _, reconstructions = given
    assert torch.equal(reconstructions, dataset.val.labels[:24].long())


def test_pictures_go_through_no_link(tmp_path):
    mine, run_dir = tmp_path / "mine", tmp_path / "run"
    mine.mkdir()
    run_dir.mkdir()
    (run_dir / "images").symlink_to(mine)
    with pytest.raises(UserError, match="images must be a folder, got a link"):
        draw(run_dir)
    assert not list(mine.iterdir())

"""What a run draws depends on its model and its data alone."""

import numpy as np
import pytest
import torch
from torch import nn

from helpers.combinations import vae_of
from helpers.fakes import Killed, pixels, small_dataset, small_vae
from vaelab.dataset.images import Dataset, Split
from vaelab.errors import UserError
from vaelab.evaluation.pictures import decode, draw_pictures, encode, posterior, sample
from vaelab.ops import unit_interval
from vaelab.prior.normal import NormalPrior
from vaelab.vae import VAE


def carry_on():
    """What `between` does when nobody wants to stop."""


def draw(tmp_path, latent_dim=3, between=carry_on, **options):
    return draw_pictures(small_vae(latent_dim), small_dataset(**options, kinds=10), tmp_path, epoch=7, between=between)


@pytest.mark.parametrize("pixel_noise", [False, True])
def test_the_same_noise_gives_the_same_samples(pixel_noise):
    vae = small_vae()
    torch.manual_seed(1)
    first = sample(vae, 5, seed=3, pixel_noise=pixel_noise)
    torch.manual_seed(2)
    assert torch.equal(sample(vae, 5, seed=3, pixel_noise=pixel_noise), first)
    assert not torch.equal(sample(vae, 5, seed=4, pixel_noise=pixel_noise), first)


def test_samples_are_means_and_with_pixel_noise_draws():
    means, draws = (sample(small_vae(), 50, seed=0, pixel_noise=noise) for noise in (False, True))
    assert means.shape == draws.shape == (50, 1, 8, 8)
    assert draws.unique().tolist() == [0, 1]
    assert ((means > 0) & (means < 1)).all()
    assert draws.mean().item() == pytest.approx(means.mean().item(), abs=0.05)


def test_drawing_leaves_torchs_generator_alone(tmp_path):
    before = torch.get_rng_state()
    draw(tmp_path, latent_dim=2, binarize="dynamic")
    assert torch.equal(torch.get_rng_state(), before)


def test_encoding_gives_the_mean_of_the_posterior():
    vae, x = small_vae(), unit_interval(small_dataset().train.images[:6])
    z = encode(vae, x)
    assert torch.equal(z, vae.encode(x, torch.randn(4, 6, 3)).mean)
    assert torch.equal(decode(vae, z), torch.sigmoid(vae.decoder(z)))
    assert not z.requires_grad


@pytest.mark.parametrize(("latent_dim", "more"), [(3, set()), (1, set()), (2, {"latent_plane", "posterior_means"})])
def test_two_latent_dimensions_give_maps_of_them(latent_dim, more, tmp_path):
    pictures = draw(tmp_path, latent_dim)
    assert pictures.keys() == {"samples", "reconstructions"} | more
    assert all(pixels(path).std() > 0 for path in pictures.values())
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {f"{name}.png" for name in pictures} | {"images/samples-0007.png"}


def test_the_samples_of_every_epoch_are_kept(tmp_path):
    pictures = draw(tmp_path)
    assert (tmp_path / "images" / "samples-0007.png").read_bytes() == pictures["samples"].read_bytes()


@pytest.mark.parametrize("binarize", ["none", "dynamic", "static"])
def test_drawing_twice_gives_the_same_pictures(binarize, tmp_path):
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        draw(tmp_path / folder, latent_dim=2, binarize=binarize)
    for path in (tmp_path / "first").glob("*.png"):
        assert np.array_equal(pixels(path), pixels(tmp_path / "second" / path.name))


@pytest.mark.parametrize("binarize", ["none", "dynamic", "static"])
def test_originals_are_drawn_as_the_model_sees_them(binarize, tmp_path):
    first = pixels(draw(tmp_path, binarize=binarize)["reconstructions"])[-6 * 58 : -5 * 58]  # the first of six rows
    assert (len(np.unique(first)) == 2) == (binarize != "none")


@pytest.mark.parametrize("val_size", [0, 30])
def test_validation_images_are_reconstructed_or_without_them_training_images(val_size, tmp_path):
    dataset = small_dataset(val_size=val_size)
    row = pixels(draw(tmp_path, val_size=val_size)["reconstructions"])[-6 * 58 : -5 * 58]
    expected = (dataset.val if val_size else dataset.train).images[0, 0].numpy()
    assert np.array_equal(row[: 7 * 8 : 7, 2 : 2 + 7 * 8 : 7, 0], expected)


PICTURES = ["samples.png", "reconstructions.png", "latent_plane.png", "posterior_means.png"]


@pytest.mark.parametrize("done", range(4))
def test_between_that_raises_stops_drawing(done, tmp_path):
    calls = iter([None] * done)

    def between():
        if next(calls, Killed) is Killed:
            raise Killed

    with pytest.raises(Killed):
        draw(tmp_path, latent_dim=2, between=between)
    assert {path.name for path in tmp_path.glob("*.*")} == set(PICTURES[:done])


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
    path = draw_pictures(vae, small_dataset(kinds=10), tmp_path, 1, carry_on)["latent_plane"]
    size = 16 * 58 + 2
    plane = pixels(path)[-size:, :size, 0][30::58, 30::58].astype(int)  # a pixel of each image
    assert plane.shape == (16, 16)
    along = np.diff(plane, axis=1) if dimension == 0 else -np.diff(plane, axis=0)
    across = np.diff(plane, axis=1 - (1 if dimension == 0 else 0))
    assert (along > 0).all()
    assert (across == 0).all()


class LogNormalPrior(nn.Module):
    """z1 = exp(e1), z2 = 3 - e2 / 2 for standard normal e: quantiles that are known and none of a standard normal."""

    is_standard_normal = False

    def sample(self, eps):
        return torch.stack([eps[:, 0].exp(), 3 - eps[:, 1] / 2], dim=-1)


@pytest.mark.parametrize("prior", [NormalPrior(), LogNormalPrior()])
def test_the_latent_plane_goes_through_the_quantiles_of_the_priors_own_marginals(prior, tmp_path, monkeypatch):
    vae, decoded, titles = small_vae(latent_dim=2), [], []
    vae.prior = prior
    vae.decoder.register_forward_hook(lambda module, arguments, out: decoded.append(arguments[0]))
    monkeypatch.setattr(
        "vaelab.evaluation.pictures.save_grid", lambda path, images, columns, title: [b"", titles.append(title)][0]
    )
    for _ in range(2):
        draw_pictures(vae, small_dataset(kinds=10), tmp_path, 1, carry_on)
    (plane, again) = (z.view(16, 16, 2) for z in decoded if len(z) == 256)
    normal = torch.special.ndtri((torch.arange(16) + 0.5) / 16)
    z1, z2 = (normal, normal) if prior.is_standard_normal else (normal.exp(), 3 + normal / 2)
    torch.testing.assert_close(plane[0, :, 0], z1, rtol=0.03, atol=0.02)
    torch.testing.assert_close(plane[:, 0, 1], z2.flip(0), rtol=0.03, atol=0.02)
    assert (plane[..., 0] == plane[:1, :, 0]).all()
    assert (plane[..., 1] == plane[:, :1, 1]).all()
    assert torch.equal(plane, again)
    assert any("quantiles of p(z1), to the right, and p(z2), upwards" in title for title in titles)


def test_pictures_need_no_labels(tmp_path):
    images = small_dataset().train.images
    dataset = Dataset("bare", lambda part: Split(images), 30, "dynamic")
    pictures = draw_pictures(small_vae(latent_dim=2), dataset, tmp_path, 1, carry_on)
    assert pixels(pictures["posterior_means"]).std() > 0


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "logistic"])
def test_noise_from_the_cpu_goes_where_the_model_is(likelihood):
    vae = vae_of(likelihood=likelihood).to("meta")
    x = torch.zeros(2, 1, 8, 8)
    made = [*(sample(vae, 2, 0, pixel_noise) for pixel_noise in (False, True)), posterior(vae, x, 3, seed=0).z]
    made += [encode(vae, x), decode(vae, torch.zeros(2, 5))]
    assert all(value.device.type == "meta" for value in made)


def test_pictures_go_through_no_link(tmp_path):
    mine, run_dir = tmp_path / "mine", tmp_path / "run"
    mine.mkdir()
    run_dir.mkdir()
    (run_dir / "images").symlink_to(mine)
    with pytest.raises(UserError, match="images must be a folder, got a link"):
        draw(run_dir)
    assert not list(mine.iterdir())


def test_the_samples_of_an_epoch_are_the_latest(tmp_path):
    pictures = draw(tmp_path)
    assert (tmp_path / "images/samples-0007.png").read_bytes() == pictures["samples"].read_bytes()

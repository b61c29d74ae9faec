"""What pictures show are the images as the model sees them, their z and their KL."""

import pytest
import torch
from torch import nn

from helpers.fakes import labelled_vae, small_dataset, small_vae
from helpers.ladders import small_ladder
from vaelab.conditional.labels import Moved
from vaelab.distributions import StandardNormal
from vaelab.evaluation.pictures import shown as module
from vaelab.evaluation.pictures.shown import Shown
from vaelab.posterior.delta import DeltaPosterior
from vaelab.vae import VAE


def with_posterior(posterior, prior=None, latent_dim=3):
    vae = small_vae(latent_dim, prior)
    return VAE(vae.encoder, vae.decoder, posterior or vae.posterior, vae.prior, vae.likelihood, latent_dim)


class OtherPrior(nn.Module):
    """A standard normal of another class, to which no KL is known in closed form."""

    def forward(self, infer):
        return Moved(StandardNormal(), torch.zeros(()), torch.zeros(3))


@pytest.fixture(autouse=True)
def several_batches(monkeypatch):
    monkeypatch.setattr(module, "AT_ONCE", 70)


@pytest.fixture
def dataset():
    return small_dataset(kinds=10)


@torch.no_grad()
def test_embeddings_and_kl_are_those_of_all_images_in_their_order(dataset):
    vae = small_vae()
    x = dataset.pixels(dataset.train.images, None)
    shown = Shown(vae, dataset, 1)
    torch.testing.assert_close(shown.embeddings, vae.embed(x))
    expected = vae.infer(x).kl(StandardNormal()).mean(0)
    torch.testing.assert_close(shown.kl_by_dimension, expected)


@torch.no_grad()
def test_no_more_images_than_wanted_are_embedded_and_scored(dataset, monkeypatch):
    monkeypatch.setattr(module, "EMBEDDED", 100)
    monkeypatch.setattr(module, "SCORED", 80)
    vae = small_vae()
    shown = Shown(vae, dataset, 1)
    assert shown.embeddings.shape == (100, 3)
    expected = vae.infer(dataset.pixels(dataset.train.images[:80], None)).kl(StandardNormal()).mean(0)
    torch.testing.assert_close(shown.kl_by_dimension, expected)


@torch.no_grad()
def test_a_kl_that_is_estimated_is_that_of_the_whole_group(dataset):
    shown = Shown(small_vae(prior=OtherPrior()), dataset, 1)
    (kl,) = shown.kl
    assert kl.shape == (1,)
    assert shown.kl_by_dimension is None
    assert kl.item() == pytest.approx(Shown(small_vae(), dataset, 1).kl[0].sum().item(), abs=0.3)


@torch.no_grad()
def test_a_ladder_has_the_kl_of_each_group(dataset):
    ladder = small_ladder()
    assert [len(kl) for kl in Shown(ladder, dataset, 1).kl] == [16, 16]
    assert Shown(ladder, dataset, 1).kl_by_dimension is None


@torch.no_grad()
def test_without_a_density_there_is_no_kl(dataset):
    vae = with_posterior(DeltaPosterior(8, 3))
    assert Shown(vae, dataset, 1).kl == ()


def test_the_space_of_the_latents_is_that_of_the_posterior(dataset):
    sphere, codes = small_vae(), small_vae()
    sphere.posterior.space = "sphere"
    codes.posterior.prior = StandardNormal
    ladder = small_ladder()
    spaces = [Shown(model, dataset, 1).space for model in (small_vae(), sphere, codes, ladder)]
    assert spaces == ["real", "sphere", "codes", None]


def test_classes_come_in_turn_where_the_model_takes_labels(dataset):
    assert Shown(small_vae(), dataset, 1).classes(12) is None
    assert Shown(labelled_vae(), dataset, 1).classes(12).tolist() == [*range(10), 0, 1]

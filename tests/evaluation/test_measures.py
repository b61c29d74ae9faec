"""Probe, similarity, Fréchet distances and ex-post densities, each where its value is known."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch

from helpers.combinations import normals
from helpers.fakes import labelled_vae, small_vae
from helpers.subjects import split_of, subject_of, transparent_vae
from vaelab.dataset.digits import load
from vaelab.dataset.images import Split
from vaelab.evaluation import classifier, frechet
from vaelab.evaluation.ex_post import EX_POST
from vaelab.evaluation.frechet import frechet_classifier_distance, frechet_distance, frechet_inception_distance
from vaelab.evaluation.probe import probe
from vaelab.evaluation.similarity import similarity
from vaelab.evaluation.subject import LeftOutError, Subject
from vaelab.ops import generator, unit_interval

LABELS = torch.arange(300).remainder(3).to(torch.uint8)


def labelled_rows(separated, seed):
    """Rows whose first two numbers tell their class of three, or tell nothing."""
    centres = torch.tensor([[0.0, 0.0, 0.0], [9.0, 0.0, 0.0], [0.0, 9.0, 0.0]])
    return normals(300, 3, seed=seed) + (centres[LABELS.long()] if separated else 0)


@pytest.mark.parametrize(("separated", "low", "high"), [(True, 0.99, 1.0), (False, 0.2, 0.45)])
def test_the_probe_tells_classes_that_lie_apart_and_guesses_where_latents_tell_nothing(separated, low, high):
    train, test = (split_of(labelled_rows(separated, seed), LABELS) for seed in (0, 1))
    found = probe(subject_of(transparent_vae(3), test, train))
    accuracy = found.metrics["probe_accuracy"]
    assert low <= accuracy <= high
    assert found.errors["probe_accuracy"] == pytest.approx(math.sqrt(accuracy * (1 - accuracy) / 299), abs=1e-6)


def test_a_probe_is_fitted_to_the_images_trained_on_and_needs_labels():
    train = split_of(labelled_rows(True, 0), LABELS)
    turned = split_of(labelled_rows(True, 1), (LABELS + 1) % 3)
    assert probe(subject_of(transparent_vae(3), turned, train)).metrics["probe_accuracy"] < 0.01
    nothing = split_of(labelled_rows(False, 1), LABELS)
    assert probe(subject_of(transparent_vae(3), nothing, train)).metrics["probe_accuracy"] < 0.5
    for labels, said in ((None, "needs labels"), (torch.zeros_like(LABELS), "two kinds")):
        with pytest.raises(LeftOutError, match=said):
            probe(subject_of(transparent_vae(3), split_of(labelled_rows(True, 0), labels)))
    with pytest.raises(LeftOutError, match="finite"):
        probe(subject_of(transparent_vae(3, scale=math.nan), train))


class Blurred(torch.nn.Module):
    """A model whose reconstructions are images with an error of known size."""

    takes_labels = False

    def __init__(self, error):
        super().__init__()
        self.error = torch.nn.Parameter(torch.tensor(error))

    def reconstruct(self, x, y=None):
        return x + self.error * torch.where(x > 0.5, -1, 1)


def test_psnr_and_ssim_of_a_known_error():
    images = Split(torch.randint(256, (60, 1, 16, 16), generator=torch.Generator().manual_seed(0)).to(torch.uint8))
    near, far = (similarity(subject_of(Blurred(error), images)).metrics for error in (0.01, 0.2))
    assert near["psnr"] == pytest.approx(40, abs=1e-3)  # -10 log10 of 0.01²
    assert far["psnr"] == pytest.approx(20 * math.log10(5), abs=1e-3)
    assert 1 > near["ssim"] > 0.99 > far["ssim"]
    perfect = similarity(subject_of(Blurred(0.0), images)).metrics
    assert perfect["ssim"] == pytest.approx(1)
    small = similarity(subject_of(Blurred(0.1), Split(images.images[..., :8, :8])))
    assert small.metrics.keys() == {"psnr"}
    assert small.left_out == {"ssim": "needs images of 11 x 11 pixels at least"}


def test_the_frechet_distance_is_that_of_normal_densities():
    a, scale = normals(20_000, 3).double(), torch.tensor([1.0, 2.0, 0.5]).double()
    shifted = a * scale + torch.tensor([1.0, 0.0, -2.0]).double()
    expected = 5 + (scale - 1).square().sum().item()  # |difference of means|² + sum of (s - 1)² for a scaled normal
    assert frechet_distance(a, shifted) == pytest.approx(expected, rel=0.03)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-8)
    turned = torch.linalg.qr(normals(3, 3).double()).Q
    assert frechet_distance(a @ turned, shifted @ turned) == pytest.approx(frechet_distance(a, shifted), rel=1e-6)
    assert frechet_distance(a[:2], a[2:4]) >= 0  # covariances that are singular
    with pytest.raises(LeftOutError, match="finite"):
        frechet_distance(a, shifted / 0)


class Remembering(torch.nn.Module):
    """A model whose samples are the test images in another order, with noise of a given size."""

    takes_labels = False

    def __init__(self, images, noise):
        super().__init__()
        self.images, self.noise = torch.nn.Parameter(unit_interval(images.flip(0)), requires_grad=False), noise
        self.drawn = 0

    def sample(self, count, noise, y=None):
        images = self.images[self.drawn : self.drawn + count]
        self.drawn += count
        return (images + self.noise * torch.randn(images.shape, generator=noise)).clamp(0, 1)


def test_the_classifier_distance_is_zero_for_the_same_images_and_grows_with_noise(monkeypatch):
    monkeypatch.setattr(frechet, "STEPS", 60)
    monkeypatch.setattr(frechet, "trained", lambda *given: classifier.trained(*given, steps=60))
    digits = load(val_size=0, binarize="none")
    test = digits.test()

    def found(noise):
        return frechet_classifier_distance(Subject(Remembering(test.images, noise), digits, test, 100))

    distances = [found(noise).metrics["frechet_classifier_distance"] for noise in (0.0, 0.2, 0.5)]
    assert distances[0] == pytest.approx(0, abs=1e-4)
    assert distances[0] < distances[1] < distances[2]
    assert found(0.2) == found(0.2)
    assert "297 means of p(x|z), z of prior; as many training images score" in found(0.2).setting


def test_a_distance_is_that_of_samples_of_a_fitted_density_where_one_is_asked_for(monkeypatch):
    """Embeddings far from the prior: the mean of what the mixture draws is near the mean reconstruction."""
    monkeypatch.setattr(frechet, "trained", lambda *given: classifier.trained(*given, steps=60))
    digits, vae = load(val_size=0, binarize="dynamic"), small_vae().eval()
    with torch.no_grad():
        vae.posterior.heads.bias[:3] = 9.0
        vae.decoder.layers[0].weight.mul_(4)
    of_prior = Subject(vae, digits, digits.test(), 100)
    of_mixture = replace(of_prior, sampler="gmm")
    reconstructed = vae.reconstruct(unit_interval(digits.test().images)).mean(0)
    apart = [
        (torch.cat(list(frechet._samples(subject))).mean(0) - reconstructed).norm()
        for subject in (of_mixture, of_prior)
    ]

    assert apart[0] < apart[1] / 5
    assert "z of gmm; as many" in frechet_classifier_distance(of_mixture).setting


def test_the_classifier_learns_is_the_same_for_a_seed_and_leaves_torchs_generator():
    digits, before = load(val_size=0, binarize="none"), torch.get_rng_state()
    first, again, other = (classifier.trained(digits, seed, torch.device("cpu"), 80) for seed in (0, 0, 1))
    assert torch.equal(first.head.weight, again.head.weight)
    assert not torch.equal(first.head.weight, other.head.weight)
    assert torch.equal(torch.get_rng_state(), before)
    right = first(unit_interval(digits.test().images)).argmax(1) == digits.test().labels
    assert right.double().mean() > 0.8


def test_distances_that_cannot_be_had_are_left_out(tmp_path):
    subject = subject_of(labelled_vae(), split_of(normals(10, 3)))
    with pytest.raises(LeftOutError, match="needs labels to train its classifier"):
        frechet_classifier_distance(subject)
    with pytest.raises(LeftOutError, match="name their file with --fid-weights"):
        frechet_inception_distance(subject, None)
    with pytest.raises(LeftOutError, match="torch-fidelity"):  # the package, or weights that it can read
        frechet_inception_distance(subject, tmp_path / "absent.pth")
    one = subject_of(labelled_vae(), split_of(normals(1, 3)))
    for distance in (frechet_classifier_distance, partial(frechet_inception_distance, weights=tmp_path)):
        with pytest.raises(LeftOutError, match="two images at least"):
            distance(one)


class Inception(torch.nn.Module):
    """Reads its weights as torch-fidelity does; its features are the means of the rows of an image."""

    def __init__(self, name, features, weights):
        super().__init__()
        self.load_state_dict(torch.load(weights))
        self.sizes = []

    def forward(self, x):
        self.sizes.append(len(x))
        return x.float().mean((1, 2))


def test_weights_that_are_damaged_are_left_out_and_good_ones_see_50_images_at_once(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(
        "torchmetrics.image.fid.NoTrainInceptionV3", lambda *given: made.append(Inception(*given)) or made[-1]
    )
    subject = subject_of(transparent_vae(3), split_of(normals(130, 3)))
    junk, listed, empty, good = (tmp_path / name for name in ("junk.pth", "list.pth", "empty.pth", "good.pth"))
    junk.write_bytes(b"what is no pickle")
    empty.touch()
    torch.save([1, 2], listed)
    torch.save({}, good)
    for weights in (junk, listed, empty, tmp_path / "absent.pth"):
        with pytest.raises(LeftOutError, match=f"needs Inception weights as torch-fidelity has them, and .*{weights}"):
            frechet_inception_distance(subject, weights)
    assert frechet_inception_distance(subject, good).metrics["fid"] > 0
    assert made[-1].sizes == [50, 50, 30] * 2


@pytest.mark.parametrize("sampler", EX_POST)
def test_any_seed_will_do_and_no_gpu_is_seeded(sampler, monkeypatch):
    monkeypatch.setattr("vaelab.evaluation.ex_post.FLOW_STEPS", 1)
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail("seeded GPUs"))
    assert EX_POST[sampler](normals(50, 2), 10**26)(3, generator(0, "draws")).isfinite().all()
    classifier.trained(load(val_size=0, binarize="none"), 0, torch.device("cpu"), steps=1)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", EX_POST)
def test_an_ex_post_density_draws_what_it_was_fitted_to(sampler, monkeypatch):
    monkeypatch.setattr("vaelab.evaluation.ex_post.FLOW_STEPS", 250)
    monkeypatch.setattr("vaelab.evaluation.ex_post.COMPONENTS", 2)
    two = torch.where(torch.arange(3000)[:, None] % 3 == 0, torch.tensor([4.0, 0.0]), torch.tensor([-4.0, 10.0]))
    z = two + normals(3000, 2) @ torch.tensor([[1.0, 0.8], [0.0, 0.6]])
    draw = EX_POST[sampler](z, 0)
    drawn = draw(3000, generator(0, "draws"))
    assert frechet_distance(z, drawn) < 0.5
    assert (drawn[:, 0] > 0).double().mean() == pytest.approx(1 / 3, abs=0.04)
    near = (drawn[:, 0].abs() - 4).abs() < 3  # none, or few, between the two
    assert near.double().mean() > 0.97
    around = [part[(part - torch.tensor([4.0, 0.0])).norm(dim=1) < 3] for part in (drawn, z)]  # one of the two
    assert torch.allclose(around[0].T.cov(), around[1].T.cov(), atol=0.25)
    assert torch.equal(draw(5, generator(1, "draws")), draw(5, generator(1, "draws")))

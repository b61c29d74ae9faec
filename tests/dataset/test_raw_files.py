"""Datasets that cannot be downloaded here, from small files in their raw formats."""

import numpy as np
import pytest
from PIL import Image

from helpers import raw_files
from vaelab.dataset import celeba, cifar100, emnist, kmnist, mnist, omniglot, svhn
from vaelab.dataset.prepared import prepared
from vaelab.errors import UserError

COUNTS = {"train": 30, "test": 20}
RNG = np.random.default_rng(0)


def made(shape, classes):
    images = {part: RNG.integers(256, size=(count, *shape), dtype=np.uint8) for part, count in COUNTS.items()}
    return images, {part: np.arange(count) % classes for part, count in COUNTS.items()}


@pytest.fixture
def few(monkeypatch):
    """Lets a dataset have as few images as are made here, and says how many it really has."""
    declared = {}

    def of(module):
        def of_few(root, name, torchvision_name, shape, sizes, *arguments):
            declared.update(sizes)
            return prepared(root, name, torchvision_name, shape, COUNTS, *arguments)

        monkeypatch.setattr(module, "prepared", of_few)
        return declared

    return of


def assert_holds(dataset, images, labels):
    dataset.check()
    for split, part in ((dataset.train, "train"), (dataset.test(), "test")):
        assert np.array_equal(split.images.numpy(), images[part])
        assert split.labels.tolist() == labels[part].tolist()


def test_kmnist(tmp_path, few):
    declared = few(kmnist)
    images, labels = made((28, 28), 10)
    raw_files.put_idx(tmp_path / "KMNIST" / "raw", {"train": "train", "test": "t10k"}, images, labels)
    dataset = kmnist.load(str(tmp_path), 0, "none")
    assert_holds(dataset, {part: each[:, None] for part, each in images.items()}, labels)
    assert declared == {"train": 60_000, "test": 10_000}


@pytest.mark.parametrize(("split", "train"), [("balanced", 112_800), ("letters", 124_800)])
def test_emnist_stands_upright(tmp_path, few, split, train):
    declared = few(emnist)
    images, labels = made((28, 28), 26)
    prefixes = {part: f"emnist-{split}-{part}" for part in COUNTS}
    raw_files.put_idx(tmp_path / "EMNIST" / "raw", prefixes, images, labels)
    dataset = emnist.load(str(tmp_path), split, 0, "none")
    assert_holds(dataset, {part: each[:, None].swapaxes(2, 3) for part, each in images.items()}, labels)
    assert (dataset.name, declared["train"]) == (f"emnist_{split}", train)


def test_emnist_has_six_splits():
    with pytest.raises(ValueError, match="did you mean 'letters'"):
        emnist.load("data", "leters", 0, "none")


def test_svhn(tmp_path, few, monkeypatch):
    declared = few(svhn)
    images, labels = made((3, 32, 32), 10)
    raw_files.put_svhn(tmp_path, images, labels, monkeypatch)
    assert_holds(svhn.load(str(tmp_path), 0, "none"), images, labels)
    assert declared == {"train": 73_257, "test": 26_032}


def test_cifar100(tmp_path, few, monkeypatch):
    declared = few(cifar100)
    images, labels = made((3, 32, 32), 100)
    raw_files.put_cifar100(tmp_path, images, labels, monkeypatch)
    assert_holds(cifar100.load(str(tmp_path), 0, "none"), images, labels)
    assert declared == {"train": 50_000, "test": 10_000}


def test_celeba_keeps_the_middle_of_each_face_in_its_own_splits(tmp_path, monkeypatch):
    def face(level):
        picture = Image.new("RGB", (178, 218), "red")
        picture.paste(Image.new("RGB", (148, 148), (level, level, level)), (15, 35))
        return picture

    pictures = {"train": map(face, range(0, 200, 5)), "valid": [face(201), face(203)], "test": [face(210), face(220)]}
    raw_files.put_celeba(tmp_path, pictures, monkeypatch)
    dataset = celeba.load(str(tmp_path), size=16, middle=148, binarize="none", flip=False)
    dataset.check()
    levels = [split.images.float().mean((1, 2, 3)) for split in (dataset.train, dataset.val, dataset.test())]
    assert levels[0].tolist() == pytest.approx(list(range(0, 200, 5)), abs=2)
    assert levels[1].tolist() == pytest.approx([201, 203], abs=2)
    assert levels[2].tolist() == pytest.approx([210, 220], abs=2)
    assert (dataset.image_shape, dataset.num_classes) == ((3, 16, 16), None)


def test_omniglot_has_white_strokes_and_other_alphabets_to_test_on(tmp_path, monkeypatch):
    drawings = {
        "images_background": [raw_files.one_bit(0)] * 60,
        "images_evaluation": [raw_files.one_bit(1)] * 7,
    }
    raw_files.put_omniglot(tmp_path, drawings, monkeypatch)
    dataset = omniglot.load(str(tmp_path), size=28, val=0.2, binarize="none")
    dataset.check()
    assert len(dataset.train.images) + len(dataset.val.images) == 60
    assert len(dataset.val.images) > 3
    assert (dataset.train.images == 255).all()
    assert dataset.test().images.shape == (7, 1, 28, 28)
    assert (dataset.test().images == 0).all()


@pytest.fixture
def fixed(tmp_path, monkeypatch):
    """The three files of the fixed binarised MNIST, of a few images each."""
    sizes = {"train": 30, "val": 5, "test": 7}
    monkeypatch.setattr(mnist, "FIXED_SIZES", sizes)
    drawn = {part: RNG.integers(2, size=(size, 784)) for part, size in sizes.items()}
    for part, images in drawn.items():
        np.savetxt(tmp_path / mnist.FIXED_FILES[part], images, fmt="%d")
    return drawn


def test_fixed_mnist_is_black_and_white_in_its_own_splits(tmp_path, fixed):
    dataset = mnist.load(str(tmp_path), val_size=5000, binarize="fixed")
    dataset.check()
    for split, part in ((dataset.train, "train"), (dataset.val, "val"), (dataset.test(), "test")):
        assert np.array_equal(split.images.flatten(1).numpy(), fixed[part] * 255)
        assert split.labels is None
    assert (dataset.name, dataset.binarize, dataset.pixel_kind) == ("mnist", "fixed", "binary")


def test_a_fixed_mnist_that_is_cut_short_is_refused(tmp_path, fixed):
    path = tmp_path / mnist.FIXED_FILES["val"]
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"binarized_mnist_valid\.amat must hold 5 images of 784 pixels 0 or 1"):
        mnist.load(str(tmp_path), val_size=0, binarize="fixed")


def test_grey_images_are_not_called_fixed(tmp_path, few):
    few(kmnist)
    raw_files.put_idx(tmp_path / "KMNIST" / "raw", {"train": "train", "test": "t10k"}, *made((28, 28), 10))
    with pytest.raises(UserError, match=r"not black and white; choose dataset\.binarize=static"):
        kmnist.load(str(tmp_path), 0, "fixed").check()

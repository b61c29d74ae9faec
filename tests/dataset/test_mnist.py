"""MNIST is the real one."""

import pytest
import torch

from vaelab.dataset.mnist import load


@pytest.fixture(scope="module")
def mnist(data_root):
    return load(str(data_root), val_size=5000, binarize="none")


def test_there_are_60000_and_10000_grey_images_with_the_labels_0_to_9(mnist):
    assert mnist.name == "mnist"
    assert mnist.image_shape == (1, 28, 28)
    assert [len(split.images) for split in (mnist.train, mnist.val, mnist.test())] == [55_000, 5_000, 10_000]
    for split in (mnist.train, mnist.val, mnist.test()):
        assert split.images.dtype == torch.uint8
        assert len(split.labels) == len(split.images)
        assert split.labels.unique().tolist() == list(range(10))


def test_the_mean_grey_value_is_the_known_one(mnist):
    images = torch.cat([mnist.train.images, mnist.val.images])
    assert images.float().mean().item() / 255 == pytest.approx(0.1307, abs=1e-4)


def test_torchvisions_own_files_give_the_same_images(mnist, data_root, tmp_path):
    if not (data_root / "MNIST" / "raw").exists():
        pytest.skip(f"needs torchvision's files in {data_root}/MNIST/raw")
    (tmp_path / "MNIST").symlink_to((data_root / "MNIST").resolve())
    prepared = load(str(tmp_path), val_size=5000, binarize="none")
    for split, expected in ((prepared.train, mnist.train), (prepared.test(), mnist.test())):
        assert torch.equal(split.images, expected.images)
        assert torch.equal(split.labels, expected.labels)

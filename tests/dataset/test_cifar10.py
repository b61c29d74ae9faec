"""CIFAR-10 is the real one."""

import pytest
import torch

from vaelab.dataset.cifar10 import load


@pytest.fixture(scope="module")
def cifar10(data_root):
    return load(str(data_root), val_size=0, binarize="none")


def test_there_are_50000_and_10000_colour_images_of_ten_kinds(cifar10):
    assert cifar10.name == "cifar10"
    assert cifar10.image_shape == (3, 32, 32)
    assert cifar10.train.images.shape == (50_000, 3, 32, 32)
    assert cifar10.test().images.shape == (10_000, 3, 32, 32)
    for split in (cifar10.train, cifar10.test()):
        assert split.images.dtype == torch.uint8
        assert split.labels.unique().tolist() == list(range(10))


def test_the_means_of_the_channels_are_the_known_ones(cifar10):
    means = [cifar10.train.images[:, channel].float().mean().item() / 255 for channel in range(3)]
    assert means == pytest.approx([0.4914, 0.4822, 0.4465], abs=2e-3)

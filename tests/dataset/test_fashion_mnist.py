"""Fashion-MNIST has the form of MNIST and comes from its own class of torchvision."""

import pytest
import torch

from helpers.fakes import FakeTorchvision
from vaelab.dataset.fashion_mnist import load
from vaelab.errors import UserError


def blank(count):
    """Images (N, 28, 28) of one level each, the level also the label."""
    levels = torch.arange(count).remainder(10).to(torch.uint8)
    return levels[:, None, None].expand(-1, 28, 28), levels.long()


def test_it_is_prepared_from_its_own_class(tmp_path, monkeypatch):
    import torchvision

    fake = FakeTorchvision({"train": blank(60_000), "test": blank(10_000)})
    monkeypatch.setattr(torchvision.datasets, "FashionMNIST", fake)
    dataset = load(str(tmp_path), val_size=1000, binarize="none")
    assert (tmp_path / "fashion_mnist.safetensors").exists()
    assert (dataset.name, dataset.image_shape) == ("fashion_mnist", (1, 28, 28))
    assert [len(split.images) for split in (dataset.train, dataset.val, dataset.test())] == [59_000, 1_000, 10_000]
    assert torch.equal(dataset.train.images[:, 0, 9, 9], dataset.train.labels)


def test_another_number_of_images_is_refused(tmp_path, monkeypatch):
    import torchvision

    fake = FakeTorchvision({"train": blank(600), "test": blank(100)})
    monkeypatch.setattr(torchvision.datasets, "FashionMNIST", fake)
    with pytest.raises(UserError, match=r"must hold .*60000.*got .*600"):
        load(str(tmp_path), val_size=0, binarize="none")

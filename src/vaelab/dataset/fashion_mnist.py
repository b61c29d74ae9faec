"""Fashion-MNIST: 60,000 + 10,000 grey images of clothes, 28 x 28 (Xiao et al., 2017)."""

from pathlib import Path

import torch

from vaelab.images import Dataset, Split, prepared


def load(root: str, val_size: int, binarize: str) -> Dataset:
    """Fashion-MNIST from `<root>/fashion_mnist.safetensors`, downloaded and prepared through torchvision when that is missing."""
    sizes = {"train": 60_000, "test": 10_000}
    return Dataset("fashion_mnist", prepared(root, "fashion_mnist", (1, 28, 28), sizes, _fetch), val_size, binarize)


def _fetch(root: Path) -> dict[str, Split]:
    from torchvision.datasets import FashionMNIST  # takes seconds to import; needed once

    splits = {}
    for part in ("train", "test"):
        source = FashionMNIST(root, train=part == "train", download=True)
        splits[part] = Split(source.data.unsqueeze(1), source.targets.to(torch.uint8))
    return splits

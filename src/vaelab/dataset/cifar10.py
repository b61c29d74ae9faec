"""CIFAR-10: 50,000 + 10,000 colour images of ten kinds of things, 32 x 32 (Krizhevsky, 2009)."""

from pathlib import Path

import torch

from vaelab.images import Dataset, Split, prepared


def load(root: str, val_size: int, binarize: str) -> Dataset:
    """CIFAR-10 from `<root>/cifar10.safetensors`, prepared through torchvision when that is missing."""
    sizes = {"train": 50_000, "test": 10_000}
    return Dataset("cifar10", prepared(root, "cifar10", (3, 32, 32), sizes, _fetch), val_size, binarize)


def _fetch(root: Path) -> dict[str, Split]:
    from torchvision.datasets import CIFAR10  # takes seconds to import; needed once

    splits = {}
    for part in ("train", "test"):
        source = CIFAR10(root, train=part == "train", download=True)
        images = torch.from_numpy(source.data).permute(0, 3, 1, 2)  # (N, H, W, C) -> (N, C, H, W)
        splits[part] = Split(images, torch.tensor(source.targets, dtype=torch.uint8))
    return splits

"""CIFAR-100: 50,000 + 10,000 colour images of a hundred kinds of things, 32 x 32 (Krizhevsky, 2009)."""

from vaelab.dataset.images import Dataset
from vaelab.dataset.prepared import prepared


def load(root: str, val_size: int, binarize: str, flip: bool = False) -> Dataset:
    """CIFAR-100 from `<root>/cifar100.safetensors`, downloaded and prepared when that is missing."""
    read = prepared(root, "cifar100", "CIFAR100", (3, 32, 32), {"train": 50_000, "test": 10_000})
    return Dataset("cifar100", read, val_size, binarize, flip=flip)

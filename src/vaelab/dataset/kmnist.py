"""KMNIST: 60,000 + 10,000 grey images of cursive Japanese characters, 28 x 28 (Clanuwat et al., 2018)."""

from vaelab.dataset.images import Dataset
from vaelab.dataset.prepared import prepared


def load(root: str, val_size: int, binarize: str) -> Dataset:
    """KMNIST from `<root>/kmnist.safetensors`, downloaded and prepared when that is missing."""
    read = prepared(root, "kmnist", "KMNIST", (1, 28, 28), {"train": 60_000, "test": 10_000})
    return Dataset("kmnist", read, val_size, binarize)

"""SVHN: 73,257 + 26,032 colour images of house numbers, cropped to a digit, 32 x 32 (Netzer et al., 2011)."""

from vaelab.dataset.images import Dataset
from vaelab.dataset.prepared import prepared


def load(root: str, val_size: int, binarize: str) -> Dataset:
    """SVHN from `<root>/svhn.safetensors`, downloaded and prepared when that is missing."""
    sizes = {"train": 73_257, "test": 26_032}
    read = prepared(root, "svhn", "SVHN", (3, 32, 32), sizes, lambda part: {"split": part})
    return Dataset("svhn", read, val_size, binarize)

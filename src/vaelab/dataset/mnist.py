"""MNIST: 60,000 + 10,000 grey images of handwritten digits, 28 x 28 (LeCun et al., 1998)."""

from vaelab.dataset.images import Dataset
from vaelab.dataset.prepared import prepared


def load(root: str, val_size: int, binarize: str) -> Dataset:
    """MNIST from `<root>/mnist.safetensors`, downloaded and prepared when that is missing."""
    read = prepared(root, "mnist", "MNIST", (1, 28, 28), {"train": 60_000, "test": 10_000})
    return Dataset("mnist", read, val_size, binarize)

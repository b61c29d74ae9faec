"""Fashion-MNIST: 60,000 + 10,000 grey images of clothes, 28 x 28 (Xiao et al., 2017)."""

from vaelab.dataset.images import Dataset
from vaelab.dataset.prepared import prepared


def load(root: str, val_size: int, binarize: str, flip: bool = False) -> Dataset:
    """Fashion-MNIST from `<root>/fashion_mnist.safetensors`, downloaded and prepared when that is missing."""
    read = prepared(root, "fashion_mnist", "FashionMNIST", (1, 28, 28), {"train": 60_000, "test": 10_000})
    return Dataset("fashion_mnist", read, val_size, binarize, flip=flip)

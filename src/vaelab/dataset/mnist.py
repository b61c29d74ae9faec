"""MNIST: 60,000 + 10,000 grey images of handwritten digits, 28 x 28 (LeCun et al., 1998)."""

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from vaelab.dataset.images import Dataset
from vaelab.dataset.own.prepare import own_dataset
from vaelab.dataset.own.source import Example, Source
from vaelab.dataset.prepared import KNOWN, downloading, prepared
from vaelab.errors import UserError

FIXED_URL = "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/"
FIXED_SIZES = {"train": 50_000, "val": 10_000, "test": 10_000}
FIXED_FILES = {part: f"binarized_mnist_{'valid' if part == 'val' else part}.amat" for part in FIXED_SIZES}


def load(root: str, val_size: int, binarize: str) -> Dataset:
    """MNIST from `<root>/mnist.safetensors`, downloaded and prepared when that is missing.

    With `binarize=fixed` the images that Larochelle & Murray (2011) drew once, with their own 10,000 for validation and
    without labels, from `binarized_mnist_train.amat`, `_valid.amat` and `_test.amat` in `root`.
    """
    if binarize == "fixed":
        return own_dataset(
            root, "mnist", ["fixed"], lambda: _fixed(Path(root).expanduser()), binarize="fixed", kind=KNOWN
        )
    read = prepared(root, "mnist", "MNIST", (1, 28, 28), {"train": 60_000, "test": 10_000})
    return Dataset("mnist", read, val_size, binarize)


def _fixed(folder: Path) -> Source:
    with downloading(folder / "binarized_mnist", f"put {', '.join(FIXED_FILES.values())} into {folder}"):
        from torchvision.datasets.utils import download_url  # takes seconds to import; needed once

        for file in FIXED_FILES.values():
            if not (folder / file).exists():
                download_url(FIXED_URL + file, folder)

    @cache
    def images(part: str) -> np.ndarray:
        drawn = np.frombuffer((folder / FIXED_FILES[part]).read_bytes(), np.uint8)
        drawn = drawn[(drawn == ord("0")) | (drawn == ord("1"))] - ord("0")  # between them are spaces and line ends
        if drawn.size != FIXED_SIZES[part] * 28 * 28:
            raise UserError(
                f"{folder / FIXED_FILES[part]} must hold {FIXED_SIZES[part]:,} images of 784 pixels 0 or 1, got "
                f"{drawn.size:,} pixels; move it away to download it anew"
            )
        return (drawn * 255).reshape(-1, 1, 28, 28)

    def read(items: Sequence[tuple[str, int]]) -> Iterator[Example]:
        return (Example(images(part)[row]) for part, row in items)

    return Source({part: [(part, row) for row in range(size)] for part, size in FIXED_SIZES.items()}, read)

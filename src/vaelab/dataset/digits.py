"""Digits: 1,797 grey images of handwritten digits, 8 x 8, that come with scikit-learn; no download."""

import torch

from vaelab.dataset.images import Dataset, Split
from vaelab.ops import generator

TEST_SIZE = 297


def load(val_size: int, binarize: str) -> Dataset:
    """scikit-learn's digits: 1,500 images to train on and 297 to test on, a fixed choice; 17 levels over 0..255."""
    from sklearn.datasets import load_digits  # takes a second to import

    source = load_digits()
    images = torch.from_numpy(source.images).mul(255 / 16).round().to(torch.uint8).unsqueeze(1)  # (N, 1, 8, 8)
    labels = torch.from_numpy(source.target).to(torch.uint8)
    order = torch.randperm(len(images), generator=generator(0, "digits split"))
    chosen = {"train": order[TEST_SIZE:], "test": order[:TEST_SIZE]}
    return Dataset("digits", lambda part: Split(images[chosen[part]], labels[chosen[part]]), val_size, binarize)

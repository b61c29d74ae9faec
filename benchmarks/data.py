"""The images of a job, through vaelab's own datasets; and random ones for where those are not at hand."""

from dataclasses import replace
from pathlib import Path

import torch
from safetensors import safe_open

from benchmarks.job import SYNTHETIC_IMAGES, Job
from benchmarks.overrides import DATASETS
from vaelab.dataset import cifar10, mnist
from vaelab.dataset.images import Dataset, Split


def dataset(job: Job) -> Dataset:
    """Grey or colour images as 256 levels, the spare ones kept for validation."""
    name = DATASETS[job.column.model]
    if job.synthetic:
        load = {"mnist": synthetic_mnist, "cifar10": synthetic_cifar10}[name]
    else:
        load = {"mnist": mnist.load, "cifar10": cifar10.load}[name]
    return limited(load(job.root, val_size=job.spare, binarize="none"), job)


def limited(whole: Dataset, job: Job) -> Dataset:
    """The dataset with the first `job.limit` training images only, the others never read."""
    if job.limit is None:
        return whole

    def read(part: str) -> Split:
        if job.synthetic:
            split = whole.read(part)
            return Split(split.images[: job.limit].clone(), split.labels[: job.limit].clone())
        with safe_open(Path(job.root) / f"{whole.name}.safetensors", "pt") as file:
            images, labels = (file.get_slice(f"{part}_{kind}")[: job.limit] for kind in ("images", "labels"))
        return Split(images, labels)

    return replace(whole, read=read)


def synthetic_mnist(root: str, val_size: int, binarize: str) -> Dataset:
    """Random images of MNIST's shape; `root` is not used."""
    return _synthetic("mnist", (1, 28, 28), val_size, binarize)


def synthetic_cifar10(root: str, val_size: int, binarize: str, flip: bool = False) -> Dataset:
    """Random images of CIFAR-10's shape; `root` and `flip` are not used."""
    return _synthetic("cifar10", (3, 32, 32), val_size, binarize)


def _synthetic(name: str, image_shape: tuple[int, int, int], val_size: int, binarize: str) -> Dataset:
    sizes = {"train": SYNTHETIC_IMAGES, "test": 500}

    def read(part: str) -> Split:
        generator = torch.Generator().manual_seed(sizes[part])
        images = torch.randint(256, (sizes[part], *image_shape), dtype=torch.uint8, generator=generator)
        return Split(images, torch.zeros(sizes[part], dtype=torch.uint8))

    return Dataset(name, read, val_size, binarize)

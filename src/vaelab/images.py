"""Images in memory: uint8 tensors with fixed splits, prepared once and verified at every start."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vaelab.errors import UserError, check_choice, check_integer
from vaelab.ops import binarize, generator, uniform_like, unit_interval

BINARIZE = ("none", "dynamic", "static")


@dataclass(frozen=True)
class Split:
    """Images (N, C, H, W) uint8 and their labels (N,)."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Dataset:
    """A dataset with its fixed train and validation splits; the test split is read when it is asked for.

    Args:
        name: as in `conf/dataset/`.
        read: gives the split `train` or `test`.
        val_size: how many training images are kept for validation, the same ones in every run; 0 for none.
        binarize: `none` leaves 256 levels in [0, 1]; `dynamic` draws every pixel anew as 0 or 1 in each step, with
            the grey value as its probability; `static` draws once, the same in every run.

    Raises:
        ValueError: if `val_size` leaves no training image, or `binarize` is not one of the three.
    """

    name: str
    read: Callable[[str], Split]
    val_size: int
    binarize: str

    def __post_init__(self) -> None:
        check_integer("val_size", self.val_size, 0)
        check_choice("binarize", self.binarize, BINARIZE)

    @property
    def support(self) -> str:
        """What the pixels are: `binary`, 0 or 1, or `levels`, the 256 levels k / 255."""
        return "levels" if self.binarize == "none" else "binary"

    @property
    def dynamic(self) -> bool:
        """Whether every batch is binarised anew."""
        return self.binarize == "dynamic"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    @property
    def train(self) -> Split:
        """The training images without those kept for validation."""
        return self._parts[0]

    @property
    def val(self) -> Split:
        """The validation images, `val_size` of the training images."""
        return self._parts[1]

    def test(self) -> Split:
        """The test images."""
        return self._fixed("test")

    @cached_property
    def _parts(self) -> tuple[Split, Split]:
        whole = self._fixed("train")
        total = len(whole.images)
        if self.val_size >= total:
            raise ValueError(f"val_size must be less than the {total:,} training images, got {self.val_size:,}")
        order = torch.randperm(total, generator=generator(0, "validation split"))
        kept, rest = order[: self.val_size].sort().values, order[self.val_size :].sort().values
        return Split(whole.images[rest], whole.labels[rest]), Split(whole.images[kept], whole.labels[kept])

    def _fixed(self, part: str) -> Split:
        split = self.read(part)
        if self.binarize != "static":
            return split
        x = unit_interval(split.images)
        drawn = binarize(x, uniform_like(x, generator(0, f"static binarisation of {part}")))
        return Split(drawn.mul_(255).to(torch.uint8), split.labels)


def prepared(
    root: str | Path, name: str, torchvision_name: str, image_shape: tuple[int, int, int], sizes: dict[str, int]
) -> Callable[[str], Split]:
    """A reader of `<root>/<name>.safetensors`, which is downloaded and written through torchvision when it is missing.

    Args:
        root: the folder of the prepared datasets.
        name: the dataset's name.
        torchvision_name: of its class in `torchvision.datasets`.
        image_shape: (C, H, W) that every image must have.
        sizes: the number of images in `train` and in `test`.

    Raises:
        UserError: if the dataset can be neither found nor downloaded, or the file is damaged.
    """
    path = Path(root).expanduser() / f"{name}.safetensors"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):  # the jobs of a sweep ask for it at the same time
            if not path.exists():
                _prepare(path, torchvision_name)
    try:
        with safe_open(path, "pt") as file:
            shapes = {key: tuple(file.get_slice(key).get_shape()) for key in sorted(file.keys())}
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{path} is damaged or cut short ({error}); move it away and run again to prepare it anew"
        ) from error
    expected = {}
    for part, size in sizes.items():
        expected |= {f"{part}_images": (size, *image_shape), f"{part}_labels": (size,)}
    if any(shapes.get(key) != shape for key, shape in expected.items()):
        raise UserError(f"{path} must hold {expected}, got {shapes}; move it away and run again to prepare it anew")

    def read(part: str) -> Split:
        with safe_open(path, "pt") as file:
            split = Split(file.get_tensor(f"{part}_images"), file.get_tensor(f"{part}_labels"))
        if split.images.dtype != torch.uint8:
            raise UserError(f"{path} must hold uint8 images, got {split.images.dtype}; prepare it anew")
        return split

    return read


def _prepare(path: Path, torchvision_name: str) -> None:
    tensors = {}
    try:
        from torchvision import datasets  # takes seconds to import; needed once

        for part in ("train", "test"):
            source = getattr(datasets, torchvision_name)(path.parent, train=part == "train", download=True)
            images = torch.as_tensor(source.data)
            # grey (N, H, W) -> (N, 1, H, W), colour (N, H, W, C) -> (N, C, H, W)
            images = images.unsqueeze(1) if images.dim() == 3 else images.permute(0, 3, 1, 2)
            tensors[f"{part}_images"] = images.contiguous()
            tensors[f"{part}_labels"] = torch.as_tensor(source.targets, dtype=torch.uint8)
    except (OSError, RuntimeError) as error:  # URLError is an OSError; torchvision raises RuntimeError
        raise UserError(
            f"{path.stem} is not in {path.parent} and could not be downloaded ({error}); put {path.name} or "
            f"torchvision's files there, or use dataset=digits, which needs no download"
        ) from error
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        save_file(tensors, temporary)
        temporary.replace(path)
    except SafetensorError as error:
        raise UserError(f"{path} could not be written ({error}); free some space or change dataset.root") from error
    finally:
        temporary.unlink(missing_ok=True)

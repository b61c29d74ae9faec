"""Images in memory: uint8 tensors with fixed splits, checked when they are read."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vaelab.errors import ArgumentError, UserError, check_choice, check_integer
from vaelab.ops import binarize, generator, uniform_like, unit_interval
from vaelab.parts import Facts

if TYPE_CHECKING:
    from vaelab.dataset.own.stored import Stored

BINARIZE = ("none", "dynamic", "static", "fixed")
MOST_CLASSES = 100_000
AT_ONCE = 256  # images that are looked at together
LABELS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


@dataclass(frozen=True)
class Factor:
    """A known cause of the images, such as a place or a shape, with the values 0, 1, ..., `count` - 1.

    Args:
        name: of the cause.
        count: of its values.
        ordered: whether near values cause similar images, as of a scale, but not of a shape.
    """

    name: str
    count: int
    ordered: bool = True


@dataclass(frozen=True)
class Split:
    """Images (N, C, H, W) uint8 and their labels (N,), integers, or None where they have none.

    `factors` (N, F), integers, are the values of the dataset's F factors, where these are known.
    """

    images: Tensor
    labels: Tensor | None = None
    factors: Tensor | None = None

    def at(self, index: Tensor) -> "Split":
        """The images of these numbers with their labels and factors."""
        return Split(self.images[index], *(None if of is None else of[index] for of in (self.labels, self.factors)))


@dataclass(frozen=True)
class Dataset:
    """A dataset with its fixed train and validation splits; the test split is read when it is asked for.

    Args:
        name: as in `conf/dataset/`.
        read: gives the split `train` or `test`.
        val_size: how many training images are kept for validation, the same ones in every run; 0 for none.
        binarize: `none` leaves 256 levels in [0, 1]; `dynamic` draws every pixel anew as 0 or 1 in each step, with
            the grey value as its probability; `static` draws once, the same in every run; `fixed` leaves images that
            are published black and white.
        max_channels: more than 4 for images that are no photographs; without it they are taken for a mistake.
        factors: the known causes of the images, by which disentanglement is measured; none of most datasets.
        flip: whether half of the training images, others in every step, are mirrored left to right.
        stored: the file that the images lie in, where they need not be in memory; it has a split `val` of its own.

    Raises:
        ValueError: if `val_size` leaves no training image, `binarize` is not one of the four, or `flip` no bool.
        UserError: at the reading of a split that does not hold what `Split` says.

    Examples:
        >>> images = torch.randint(256, (100, 1, 8, 8), dtype=torch.uint8)
        >>> splits = {"train": Split(images[:80]), "test": Split(images[80:])}
        >>> Dataset("noise", splits.__getitem__, val_size=10, binarize="none").image_shape
        (1, 8, 8)
    """

    name: str
    read: Callable[[str], Split]
    val_size: int
    binarize: str
    max_channels: int = 4
    factors: tuple[Factor, ...] = ()
    flip: bool = False
    stored: "Stored | None" = None

    def __post_init__(self) -> None:
        check_integer("val_size", self.val_size, 0)
        if not isinstance(self.flip, bool):
            raise ArgumentError("flip", f"must be true or false, got {self.flip!r}")
        check_choice("binarize", self.binarize, BINARIZE)
        check_integer("max_channels", self.max_channels, 1)

    @property
    def pixel_kind(self) -> str:
        """What the pixels are: `binary`, 0 or 1, or `levels`, the 256 levels k / 255."""
        return "levels" if self.binarize == "none" else "binary"

    def pixels(self, images: Tensor, noise: torch.Generator) -> Tensor:
        """uint8 images as a model sees them: float32 in [0, 1], binarised by the noise where that is dynamic."""
        x = unit_interval(images)
        return binarize(x, uniform_like(x, noise)) if self.binarize == "dynamic" else x

    def training_pixels(self, images: Tensor, noise: torch.Generator) -> Tensor:
        """The same as a model sees them in training, where the noise also says which are mirrored."""
        if self.flip:
            mirrored = torch.rand(len(images), generator=noise, device=noise.device).to(images.device) < 0.5
            images = images.where(~mirrored.view(-1, 1, 1, 1), images.flip(-1))
        return self.pixels(images, noise)

    @property
    def facts(self) -> Facts:
        """What is known of the images and labels to train on."""
        return Facts(self.image_shape, self.num_classes, len(self.train.images))

    @property
    def num_classes(self) -> int | None:
        """One more than the largest label to train or validate on; None without labels."""
        found = [part.labels.max() for part in self._parts if part.labels is not None and len(part.labels)]
        return 1 + int(max(found)) if found else None

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    @property
    def train(self) -> Split:
        """The images to train on."""
        return self._parts[0]

    @property
    def val(self) -> Split:
        """The validation images."""
        return self._parts[1]

    def test(self) -> Split:
        """The test images."""
        return self._fixed("test")

    def check(self) -> None:
        """Read both splits and raise UserError if one is not what a training and its test need, or they differ."""
        expected, test = self.image_shape, self._read("test")
        for name, split in (("training", self.train), ("validation", self.val), ("test", test)):
            labels = split.labels
            if labels is not None and len(labels) and not (labels.min() >= 0 and labels.max() < MOST_CLASSES):
                found = f"{labels.min().item()} to {labels.max().item()}"
                raise UserError(
                    f"the {name} labels of {self.name} must be from 0 to {MOST_CLASSES - 1:,}, got {found}; number the "
                    f"classes from 0, or leave the labels out"
                )
        came = tuple(test.images.shape[1:])
        if came != expected:
            raise UserError(
                f"the test images of {self.name} must have the shape of its training images, {expected}, got {came}; "
                f"make them the same"
            )

    def check_labels(self) -> None:
        """Raise UserError unless every image has a label from 0 to `num_classes` - 1, as a conditional model needs."""
        for name, split in (("training", self.train), ("validation", self.val), ("test", self.test())):
            labels, classes = split.labels, self.num_classes or 0
            if labels is None:
                raise UserError(f"the model takes labels, and the {name} images of {self.name} have none")
            if len(labels) and not (labels.min() >= 0 and labels.max() < classes):
                found = f"{labels.min().item()} to {labels.max().item()}"
                raise UserError(f"the {name} labels of {self.name} must be from 0 to {classes - 1}, got {found}")

    @cached_property
    def _parts(self) -> tuple[Split, Split]:
        if self.stored is not None:
            return self._fixed("train"), self._fixed("val")
        whole = self._fixed("train")
        total = len(whole.images)
        if self.val_size >= total:
            raise ArgumentError("val_size", f"must be less than the {total:,} training images, got {self.val_size:,}")
        order = torch.randperm(total, generator=generator(0, "validation split"))
        kept, rest = order[: self.val_size].sort().values, order[self.val_size :].sort().values
        return whole.at(rest), whole.at(kept)

    def _read(self, part: str) -> Split:
        split = self.read(part)
        _check_split(f"the {part} split of {self.name}", split, self.max_channels, may_be_empty=part == "val")
        return split

    def _fixed(self, part: str) -> Split:
        split = self._read(part)
        chunks = split.images.split(AT_ONCE)  # images that lie on disk may be larger than memory
        if self.binarize == "fixed" and not all(((grey == 0) | (grey == 255)).all() for grey in chunks):
            raise UserError(f"the {part} images of {self.name} are not black and white; choose dataset.binarize=static")
        if self.binarize != "static":
            return split
        noise = generator(0, f"static binarisation of {part}")
        drawn = torch.empty_like(split.images)
        for grey, black_or_white in zip(chunks, drawn.split(AT_ONCE), strict=True):
            x = unit_interval(grey)
            black_or_white.copy_(binarize(x, uniform_like(x, noise)).mul_(255))
        return replace(split, images=drawn)


def _check_split(name: str, split: Split, max_channels: int, may_be_empty: bool) -> None:
    """Raise UserError unless these are images and labels as `Split` says; costs nothing that grows with the images."""
    if not isinstance(split, Split):
        raise UserError(f"{name} must be a vaelab.dataset.images.Split(images, labels), got {type(split).__name__}")
    if reason := _wrong_images(split.images, max_channels, may_be_empty):
        raise UserError(f"{name} must have {reason}")
    labels, count = split.labels, len(split.images)
    if labels is not None and not (isinstance(labels, Tensor) and labels.dtype in LABELS and labels.shape == (count,)):
        raise UserError(f"{name} must have labels that are integers, a tensor ({count},), or None, got {_kind(labels)}")


def _wrong_images(images: Tensor, max_channels: int, may_be_empty: bool) -> str | None:
    """What was expected of images, what came, what to do; None for good ones."""
    if not isinstance(images, Tensor) or images.dtype != torch.uint8:
        return f"images that are a uint8 tensor, levels 0 to 255, got {_kind(images)}; {_to_levels(images)}"
    if images.dim() != 4:
        advice = "; images.unsqueeze(1) gives grey images their channel" if images.dim() == 3 else ""
        return f"images of the shape (N, C, H, W), got {tuple(images.shape)}{advice}"
    if not images.numel() and not may_be_empty:
        return f"at least one image with at least one pixel, got the shape {tuple(images.shape)}"
    if images.shape[1] > max_channels:
        channels_last = images.shape[3] <= max_channels
        advice = "images.permute(0, 3, 1, 2) puts them first" if channels_last else "max_channels allows more"
        return f"images (N, C, H, W) with 1 to {max_channels} channels C, got {tuple(images.shape)}; {advice}"
    return None


def _to_levels(images: object) -> str:
    if not isinstance(images, Tensor):
        return "torch.as_tensor makes a tensor of an array"
    if images.is_floating_point():
        return "for images in [0, 1] that is images.mul(255).round().to(torch.uint8)"
    return "images.to(torch.uint8) makes them so, if they are in that range"


def _kind(value: object) -> str:
    return f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__

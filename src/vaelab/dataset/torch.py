"""Any dataset of torch's: an object with a length, whose items are images or begin with one and its label."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing import current_process
from os import cpu_count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Subset

from vaelab.dataset.images import Dataset
from vaelab.dataset.own.levels import Levels
from vaelab.dataset.own.pictures import Fit
from vaelab.dataset.own.prepare import own_dataset
from vaelab.dataset.own.source import AT_ONCE, Example, Source, Unreadable, check_fractions, parted
from vaelab.errors import UserError, one_line

PROBED = 17  # items by which a dataset is known again
PLAIN = (str, int, float, Path)


def load(
    source: Any,
    size: int | None,
    grey: bool,
    fit: str,
    float_range: Sequence[float],
    val: float,
    test: float,
    root: str,
    binarize: str,
    flip: bool,
) -> Dataset:
    """The items of a dataset: an image, a pair of one and its label, or a dictionary with `image` and `label`.

    An image is a picture of Pillow's, or a tensor or array (H, W), (H, W, C) or (C, H, W). What was prepared is known
    again by the class, its attributes that are text or numbers, such as what it was made with, the length, and 17 of
    the items.

    Args:
        source: with a length and items.
        size: pixels of each side, to which Pillow's pictures are fitted; None leaves them as they are.
        grey: one channel instead of three, of Pillow's pictures.
        fit: how Pillow's pictures are made squares: `crop`, `pad` or `stretch`.
        float_range: black and white of images that are floats.
        val: the fraction that is kept for validation, by a hash of the item's number.
        test: the fraction that is kept for the test, likewise.
        root: the folder of prepared datasets.
        binarize: as `Dataset` takes it.
        flip: the same.

    Raises:
        UserError: if it has no length, or its items are something else.
    """
    check_fractions(val, test)
    name = type(source).__name__
    if not (hasattr(source, "__len__") and hasattr(source, "__getitem__")):
        raise UserError(f"dataset.source must be a dataset with a length and items by number, got a {name}")
    reader = _Reader(source, Fit(size, grey, fit), Levels(float_range), name)
    identity = {**reader.how.identity, "range": list(float_range), "val": val, "test": test, "source": _probe(reader)}
    parts = parted({"train": range(len(source))}, str, val, test)
    return own_dataset(root, name, identity, lambda: Source(parts, reader.read), binarize=binarize, flip=flip)


class _Reader:
    """Reads items in processes, as datasets of torch's are meant to be read, or here where none may be started."""

    def __init__(self, source: Any, how: Fit, levels: Levels, name: str) -> None:
        self.source = source
        self.how = how
        self.levels = levels
        self.name = name

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, number: int) -> Example | Unreadable | UserError:
        try:
            return self._example(self.source[number])
        except UserError as error:
            return error  # raised where it is read: a process would add its traceback
        except Exception as error:  # an item is read by code that is not ours
            return Unreadable(f"item {number}", f"{type(error).__name__}: {one_line(error, 100)}")

    def read(self, numbers: Sequence[int]) -> Iterator[Example | Unreadable]:
        """The examples of these items."""
        workers = 0 if current_process().daemon or len(numbers) < AT_ONCE else cpu_count() or 0
        chunks = DataLoader(Subset(self, numbers), batch_size=64, num_workers=workers, collate_fn=list)  # type: ignore[arg-type]
        try:
            for example in (example for chunk in chunks for example in chunk):
                if isinstance(example, UserError):
                    raise example
                yield example
        except RuntimeError as error:  # as the loader says that a process of its own has died
            raise UserError(
                f"the items of {self.name} must be readable in processes, and one has died ({one_line(error, 150)}); "
                f"read an item by itself to see why"
            ) from error

    def _example(self, item: Any) -> Example:
        image, label = _image_and_label(item)
        if isinstance(image, Image.Image):
            return Example(self.how(image), label)
        if not isinstance(image, (torch.Tensor, np.ndarray)):
            raise UserError(f"an item of {self.name} must be an image, or begin with one, got {type(image).__name__}")
        return Example(self.levels(np.asarray(image), self.name), label)


def _image_and_label(item: Any) -> tuple[Any, int | None]:
    if isinstance(item, Mapping):
        image, label = item.get("image"), item.get("label")
    elif isinstance(item, (tuple, list)):
        image, label = item[0], item[1] if len(item) > 1 else None
    else:
        image, label = item, None
    of_one_number = isinstance(label, (int, torch.Tensor, np.ndarray, np.generic)) and np.asarray(label).size == 1
    number = np.asarray(label).item() if of_one_number else None
    return image, number if isinstance(number, int) else None


def _probe(reader: _Reader) -> list[Any]:
    """What tells a dataset from another: its class, what that was made with, its length and some of its items."""
    kind, count = type(reader.source), len(reader)
    digest = hashlib.sha256()
    for number in sorted({round(place * (count - 1) / (PROBED - 1)) for place in range(PROBED)} if count else ()):
        found, again = (_bytes_of(reader[number]) for _ in range(2))
        if found != again:
            raise UserError(
                f"the items of {reader.name} must be the same at every reading, and item {number} is not; leave random "
                f"transforms out (dataset.flip=true mirrors images in training)"
            )
        digest.update(found)
    attributes = getattr(reader.source, "__dict__", {})
    made_with = {name: str(value) for name, value in attributes.items() if isinstance(value, PLAIN)}
    return [kind.__module__, kind.__qualname__, made_with, count, digest.hexdigest()]


def _bytes_of(found: Example | Unreadable | UserError) -> bytes:
    if isinstance(found, Example):
        return repr((found.image.shape, found.label)).encode() + found.image.tobytes()
    return b"unreadable"

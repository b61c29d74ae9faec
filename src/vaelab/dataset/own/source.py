"""What images of one's own are read from, and how they are parted into training, validation and test."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from os import cpu_count
from typing import Any, NamedTuple

import numpy as np

from vaelab.dataset.own.stored import PARTS
from vaelab.errors import ArgumentError, check_number, one_line

# by what they are called
SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
AT_ONCE = 256  # images in memory while a dataset is prepared
NAMED = 5  # of those that could not be read


class Example(NamedTuple):
    """An image (C, H, W) uint8 and its label, if it has one."""

    image: np.ndarray
    label: int | None = None


class Unreadable(NamedTuple):
    """What could not be read as an image, and why."""

    name: str
    reason: str


def told(unreadable: Sequence[Unreadable]) -> str:
    """The first few by name, with the reason, and the number of the others."""
    named = [f"{one_line(each.name, 200)} ({one_line(each.reason, 100)})" for each in unreadable[:NAMED]]
    return ", ".join(named) + (f" and {len(unreadable) - NAMED:,} more" if len(unreadable) > NAMED else "")


Read = Callable[[Sequence[Any]], Iterator[Example | Unreadable]]


@dataclass(frozen=True)
class Source:
    """Items, such as files or the numbers of rows, and how they are read.

    Args:
        parts: the items of each split, `train`, `val` and `test`.
        read: from items to their examples, in their order.
        name_of: what an item is called; without it the items have no names.
        classes: what each label means, where that is known.
    """

    parts: Mapping[str, Sequence[Any]]
    read: Read
    name_of: Callable[[Any], str] | None = None
    classes: Sequence[str] | None = None


def by_threads(read: Callable[[Any], Example | Unreadable]) -> Read:
    """Read items one by one, on all cores, in their order; for what waits for files or leaves Python's lock alone."""

    def read_all(items: Sequence[Any]) -> Iterator[Example | Unreadable]:
        with ThreadPoolExecutor(cpu_count()) as pool:
            for start in range(0, len(items), AT_ONCE):
                yield from pool.map(read, items[start : start + AT_ONCE])

    return read_all


def parted(
    own: Mapping[str, Sequence[Any]], name_of: Callable[[Any], str], val: float, test: float
) -> dict[str, Sequence[Any]]:
    """The items by split; one that is not there is drawn from `train` by a hash of the names.

    So an item stays in its split when others come or go.

    Args:
        own: the items of each split that is there, of `train` at least.
        name_of: what an item is called.
        val: the fraction of `train` that is kept for validation, where there is no `val`.
        test: the fraction that is kept for the test, where there is no `test`.
    """
    val, test = 0 if own.get("val") else val, 0 if own.get("test") else test
    drawn: dict[str, list[Any]] = {part: [] for part in PARTS}
    for item in own["train"]:
        place = int.from_bytes(hashlib.sha256(name_of(item).encode(errors="surrogateescape")).digest()[:8], "big")
        drawn["test" if place < test * 2**64 else "val" if place < (test + val) * 2**64 else "train"].append(item)
    return {part: drawn[part] if part == "train" else own.get(part) or drawn[part] for part in PARTS}


def check_fractions(val: float, test: float) -> None:
    """Raise ArgumentError unless these are fractions that leave images to train on."""
    for name, fraction in (("val", val), ("test", test)):
        check_number(name, fraction, 0)
    if val + test >= 1:
        raise ArgumentError("val", f"and test must leave images to train on, got {val:g} and {test:g}")

"""Datasets that were prepared once: a safetensors file each, verified at every start."""

import logging
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from vaelab.dataset.images import Split
from vaelab.errors import UserError

log = logging.getLogger(__name__)

KNOWN, OWN = "known", "own"  # datasets that anybody can download, and images that the config says the place of
_may_prepare: ContextVar[Collection[str]] = ContextVar("_may_prepare", default=(KNOWN, OWN))


def prepared(
    root: str | Path,
    name: str,
    torchvision_name: str,
    image_shape: tuple[int, int, int],
    sizes: dict[str, int],
    arguments: Callable[[str], Mapping[str, Any]] = lambda part: {"train": part == "train"},
) -> Callable[[str], Split]:
    """A reader of `<root>/<name>.safetensors`, which is downloaded and written through torchvision when it is missing.

    Within `found_only` nothing is downloaded or written.

    Args:
        root: the folder of the prepared datasets.
        name: the dataset's name.
        torchvision_name: of its class in `torchvision.datasets`.
        image_shape: (C, H, W) that every image must have.
        sizes: the number of images in `train` and in `test`.
        arguments: what that class takes, besides the folder, for each of the two.

    Raises:
        UserError: if the dataset can be neither found nor downloaded, or the file is damaged.
    """
    path = Path(root).expanduser() / f"{name}.safetensors"
    if not path.exists():
        if not may_prepare(KNOWN):
            raise UserError(f"{path} is not there, which the run was trained on; {_advice(path)}")
        with in_folder(path, _advice(path)):
            if not path.exists():
                _write(path, _tensors(path, torchvision_name, arguments))
    if not path.is_file():  # a FIFO would wait for its other end
        raise UserError(f"{path} must be a file; move what has its name away")
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


@contextmanager
def found_only(but: Collection[str] = ()) -> Iterator[None]:
    """Use datasets that are there only: for a saved run, which is not trusted; who asks for another gets a UserError.

    Args:
        but: the kinds that may be prepared all the same, because a person has said where.
    """
    token = _may_prepare.set(but)
    try:
        yield
    finally:
        _may_prepare.reset(token)


def may_prepare(kind: str) -> bool:
    """Whether datasets of a kind that are not there may be downloaded or read, and written."""
    return kind in _may_prepare.get()


@contextmanager
def in_folder(path: Path, advice: str) -> Iterator[None]:
    """The folder of a file that is to be prepared, for one process at a time; one that stays empty is removed again.

    Raises:
        UserError: with the advice, if that folder would lie in one that is not there.
    """
    folder = path.parent
    made = not folder.exists()
    if made:
        above = folder.absolute().parent
        if not above.is_dir() or above == Path(above.anchor):  # a misspelt path must leave no folders
            raise UserError(f"{path.stem} must lie in a folder that is there, got {folder}; {advice}")
        folder.mkdir(exist_ok=True)
    lock = path.with_suffix(".lock")
    try:
        with FileLock(lock):  # the jobs of a sweep ask for it at the same time
            yield
    except BaseException:  # a signal too
        if made:
            lock.unlink(missing_ok=True)
            for empty in sorted([folder, *folder.rglob("*/")], reverse=True):
                with suppress(OSError):  # not empty
                    empty.rmdir()
        raise


def _tensors(
    path: Path, torchvision_name: str, arguments: Callable[[str], Mapping[str, Any]]
) -> dict[str, torch.Tensor]:
    """All images and labels, as torchvision has them."""
    tensors = {}
    with downloading(path, _advice(path)):
        from torchvision import datasets  # takes seconds to import; needed once

        for part in ("train", "test"):
            source = getattr(datasets, torchvision_name)(path.parent, **arguments(part), download=True)
            images = torch.as_tensor(source.data)
            if images.dim() == 3:  # grey (N, H, W) -> (N, 1, H, W)
                images = images.unsqueeze(1)
            elif images.shape[3] == 3:  # colour (N, H, W, C) -> (N, C, H, W)
                images = images.permute(0, 3, 1, 2)
            labels = source.targets if hasattr(source, "targets") else source.labels
            tensors[f"{part}_images"] = images.contiguous()
            tensors[f"{part}_labels"] = torch.as_tensor(labels, dtype=torch.uint8)
    return tensors


@contextmanager
def downloading(path: Path, advice: str) -> Iterator[None]:
    """Turn what torchvision raises where a dataset is neither there nor can be downloaded into one sentence.

    Args:
        path: of the file that is to be prepared.
        advice: what to do about it.

    Raises:
        UserError: in its place.
    """
    log.info("%s is not there yet: it is downloaded and prepared", path)
    try:
        yield
    except (OSError, RuntimeError) as error:  # URLError is an OSError; torchvision raises RuntimeError
        raise UserError(
            f"{path.stem} is not in {path.parent} and could not be downloaded ({error}); {advice}"
        ) from error


def _write(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        save_file(tensors, temporary)
        temporary.replace(path)
    except SafetensorError as error:
        raise UserError(f"{path} could not be written ({error}); free some space or change dataset.root") from error
    finally:
        temporary.unlink(missing_ok=True)


def _advice(path: Path) -> str:
    return (
        f"name the folder with {path.name}, or torchvision's files, by $VAELAB_DATA or dataset.root, or use "
        f"dataset=digits, which needs no download"
    )

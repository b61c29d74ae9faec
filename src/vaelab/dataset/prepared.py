"""Datasets that were prepared once: a safetensors file each, verified at every start."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

import torch
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from vaelab.dataset.images import Split
from vaelab.errors import UserError

log = logging.getLogger(__name__)

_may_download: ContextVar[bool] = ContextVar("_may_download", default=True)


def prepared(
    root: str | Path, name: str, torchvision_name: str, image_shape: tuple[int, int, int], sizes: dict[str, int]
) -> Callable[[str], Split]:
    """A reader of `<root>/<name>.safetensors`, which is downloaded and written through torchvision when it is missing.

    Within `found_only` nothing is downloaded or written.

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
        if not _may_download.get():
            raise UserError(f"{path} is not there, which the run was trained on; {_advice(path)}")
        with _folder(path):
            if not path.exists():
                _write(path, _tensors(path, torchvision_name))
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
def found_only() -> Iterator[None]:
    """Use datasets that are there only: for the folder that a saved run names, which is not trusted.

    Who asks for one that is not there gets a UserError.
    """
    token = _may_download.set(False)
    try:
        yield
    finally:
        _may_download.reset(token)


@contextmanager
def _folder(path: Path) -> Iterator[None]:
    """The folder of a file that is to be prepared, for one process at a time; one that stays empty is removed again."""
    folder = path.parent
    made = not folder.exists()
    if made:
        above = folder.absolute().parent
        if not above.is_dir() or above == Path(above.anchor):  # a misspelt path must leave no folders
            raise UserError(f"{path.stem} must lie in a folder that is there, got {folder}; {_advice(path)}")
        folder.mkdir(exist_ok=True)
    lock = path.with_suffix(".lock")
    try:
        with FileLock(lock):  # the jobs of a sweep ask for it at the same time
            yield
    except UserError:
        if made:
            lock.unlink(missing_ok=True)
            for empty in sorted([folder, *folder.rglob("*/")], reverse=True):
                with suppress(OSError):  # not empty
                    empty.rmdir()
        raise


def _tensors(path: Path, torchvision_name: str) -> dict[str, torch.Tensor]:
    """All images and labels, as torchvision has them."""
    log.info("%s is not there yet: it is downloaded and prepared", path)
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
            f"{path.stem} is not in {path.parent} and could not be downloaded ({error}); {_advice(path)}"
        ) from error
    return tensors


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

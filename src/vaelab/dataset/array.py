"""Images in an array of a file, with their labels beside them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open

from vaelab.dataset.images import Dataset
from vaelab.dataset.own.levels import Levels
from vaelab.dataset.own.prepare import own_dataset
from vaelab.dataset.own.source import SPLITS, Example, Source, check_fractions, parted
from vaelab.dataset.own.stored import PARTS
from vaelab.errors import UserError, one_line

SUFFIXES = (".npy", ".npz", ".safetensors", ".pt", ".pth")
SEVERAL = ("", *PARTS)
IMAGES, LABELS = ("images", "x", "data"), ("labels", "y", "targets")


def load(
    path: str,
    labels: str | None,
    float_range: Sequence[float],
    val: float,
    test: float,
    root: str,
    binarize: str,
    flip: bool,
) -> Dataset:
    """The images of an array (N, H, W), (N, H, W, C) or (N, C, H, W), uint8, bool, or floats in a range.

    A file of several arrays has them by name: `images`, `x` or `data`, and `labels`, `y` or `targets`; where it is
    parted, with `train`, `val`, `valid`, `validation` or `test` before or after: `train_images`, `y_test`.

    Args:
        path: of the file, .npy, .npz, .safetensors or .pt, which is read without running code.
        labels: a file of the same kinds with labels (N,); None where they are in the same file, or nowhere.
        float_range: black and white of images that are floats.
        val: the fraction that is kept for validation, where the file has none of its own.
        test: the fraction that is kept for the test, likewise.
        root: the folder of prepared datasets.
        binarize: as `Dataset` takes it.
        flip: the same.

    Raises:
        UserError: if there is no such file, or it holds something else.
    """
    check_fractions(val, test)
    levels, file = Levels(float_range), _file(path, "path")
    beside = None if labels is None else _file(labels, "labels")
    files = [file] if beside is None else [file, beside]
    stats = [(str(each.resolve()), each.stat().st_size, each.stat().st_mtime_ns) for each in files]
    identity = {"arrays": stats, "range": list(float_range), "val": val, "test": test}
    return own_dataset(
        *(root, file.stem, identity, lambda: source_of(file, beside, levels, val, test)), binarize=binarize, flip=flip
    )


def source_of(file: Path, beside: Path | None, levels: Levels, val: float, test: float) -> Source:
    """The images of a file by split, with their labels, which may lie in another file beside it."""
    arrays = _arrays(file)
    if beside is not None:
        arrays["labels"] = _only(_arrays(beside), beside)
    return _source(arrays, levels, val, test, file)


def _file(path: str, key: str) -> Path:
    file = Path(str(path)).expanduser()
    if not file.is_file() or file.suffix.lower() not in SUFFIXES:
        came = "" if file.exists() else ", which is not there"
        raise UserError(f"dataset.{key} must be a file of the kinds {' '.join(SUFFIXES)}, got {file}{came}")
    return file


def _arrays(file: Path) -> dict[str, np.ndarray]:
    """The arrays of a file by name; `images` where it is one without a name."""
    try:
        if file.suffix.lower() == ".npy":
            return {"images": np.load(file, "r", allow_pickle=False)}
        if file.suffix.lower() == ".npz":
            with np.load(file, allow_pickle=False) as found:
                return {IMAGES[0] if name == "arr_0" else name: found[name] for name in found.files}
        if file.suffix.lower() == ".safetensors":
            with safe_open(file, "pt") as found:
                return _of_torch({name: found.get_tensor(name) for name in found.keys()})  # noqa: SIM118
        return _of_torch(torch.load(file, map_location="cpu", weights_only=True))
    except Exception as error:  # each reader has its own
        raise UserError(
            f"{file} must hold arrays that can be read without running code ({one_line(error, 150)}); save them anew"
        ) from error


def _of_torch(found: Any) -> dict[str, np.ndarray]:
    if isinstance(found, torch.Tensor):
        found = {"images": found}
    elif isinstance(found, (tuple, list)):
        if len(found) > 2:
            raise ValueError(f"images, or images and labels, are expected, and there are {len(found)} things")
        found = dict(zip(("images", "labels"), found, strict=False))
    return {str(name): _numpy(value) for name, value in found.items() if isinstance(value, torch.Tensor)}


def _numpy(values: torch.Tensor) -> np.ndarray:
    return (values.float() if values.dtype == torch.bfloat16 else values).numpy(force=True)  # no bfloat16 in numpy


def _only(arrays: Mapping[str, np.ndarray], file: Path) -> np.ndarray:
    if len(arrays) != 1:
        raise UserError(f"{file} must hold the labels and nothing else, got {', '.join(sorted(arrays)) or 'nothing'}")
    return next(iter(arrays.values()))


def _source(arrays: Mapping[str, np.ndarray], levels: Levels, val: float, test: float, file: Path) -> Source:
    """What is parted in the file stays so; of the others, or of `train`, a hash of the row's number makes the rest."""
    found = {part: _named(arrays, part, file) for part in SEVERAL}
    own = {part: split for part, split in found.items() if split is not None}
    whole = own.get("train", own.get(""))
    if whole is None:
        raise UserError(
            f"{file} must hold images by one of the names {', '.join(IMAGES)}, or train_images and so on, got "
            f"{one_line(', '.join(sorted(arrays)), 200) or 'nothing'}"
        )
    for part, labels in ((part, _first(arrays, part, LABELS)) for part in SEVERAL):
        if labels is not None and labels.size and part not in own:
            of = f"{part} images" if part else "images that are not parted"
            raise UserError(f"{file} has labels of {of}, and no such images; name both alike, such as train_labels")
    own = {**own, "train": whole}
    items = {part: [(split, row) for row in range(len(split[0]))] for part, split in own.items() if part}
    parts = parted(items, lambda item: str(item[1]), val, test)

    def example(split: tuple[np.ndarray, np.ndarray | None], row: int) -> Example:
        images, labels = split
        return Example(levels(np.asarray(images[row]), str(file)), None if labels is None else int(labels[row]))

    return Source(parts, lambda items: (example(*item) for item in items))


def _named(arrays: Mapping[str, np.ndarray], part: str, file: Path) -> tuple[np.ndarray, np.ndarray | None] | None:
    """Images and labels of a split by the names that it may have, the whole with the split ''; None without images."""
    images, labels = _first(arrays, part, IMAGES), _first(arrays, part, LABELS)
    if images is None or (part in ("val", "test") and images.shape[:1] == (0,)):
        return None
    if images.ndim not in (3, 4) or 0 in images.shape[1:]:
        raise UserError(
            f"the images of {file} must be (N, H, W), (N, H, W, C) or (N, C, H, W), got {images.shape}; reshape them"
        )
    if labels is not None:
        labels = labels.reshape(len(labels)) if labels.size == len(labels) else labels
        if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
            wanted = f"integers ({', '.join(map(str, images.shape[:1]))},)"
            raise UserError(f"the labels of {file} must be {wanted}, one an image, got {labels.dtype} {labels.shape}")
    return images, labels


def _first(arrays: Mapping[str, np.ndarray], part: str, kinds: Sequence[str]) -> np.ndarray | None:
    parts = [name for name, of in SPLITS.items() if of == part]
    names = [f"{a}_{b}" for kind in kinds for each in parts for a, b in ((each, kind), (kind, each))] or kinds
    return next((arrays[name] for name in names if name in arrays), None)

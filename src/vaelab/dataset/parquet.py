"""Pictures in Parquet files, as Hugging Face's datasets are kept: on this machine, or on the hub by name."""

import re
from pathlib import Path
from typing import Any

from vaelab.dataset.images import Dataset
from vaelab.dataset.own.pictures import Fit, read_picture
from vaelab.dataset.own.prepare import own_dataset
from vaelab.dataset.own.source import SPLITS, Example, Source, Unreadable, by_threads, check_fractions, parted
from vaelab.errors import UserError, one_line


def load(
    path: str,
    size: int | None,
    grey: bool,
    fit: str,
    image: str | None,
    label: str | None,
    val: float,
    test: float,
    root: str,
    binarize: str,
    flip: bool,
) -> Dataset:
    """The pictures of a Parquet file, a folder of such, or a dataset of the hub; needs the extra `hf`.

    Args:
        path: of the file or folder, or the name on the hub, such as `user/name`.
        size: pixels of each side of an image; None leaves pictures as large as they are.
        grey: one channel instead of three.
        fit: how a picture becomes a square: `crop`, `pad` or `stretch`.
        image: the column of the pictures; None where there is one only.
        label: the column of the labels, integers; None for the one that is called so, or that has classes, if any.
        val: the fraction that is kept for validation, by a hash of the row's number, where no split is called so.
        test: the fraction that is kept for the test, likewise.
        root: the folder of prepared datasets.
        binarize: as `Dataset` takes it.
        flip: the same.

    Raises:
        UserError: if nothing can be read there, or the columns are not clear.
    """
    how, path = Fit(size, grey, fit), str(path)
    check_fractions(val, test)
    files, stem = files_of(path), Path(path).stem
    stats = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files] or path
    identity = {**how.identity, "image": image, "label": label, "val": val, "test": test, "rows": stats}
    name = f"{stem}-{size}x{size}" if size is not None else stem
    return own_dataset(
        *(root, name, identity, lambda: source_of(path, image, label, how, val, test)), binarize=binarize, flip=flip
    )


def source_of(path: str, image: str | None, label: str | None, how: Fit, val: float, test: float) -> Source:
    """The pictures of a Parquet file, a folder of such, or a dataset of the hub, by split."""
    found = _loaded(path)
    column, labels = _columns(next(iter(found.values())), image, label, path)
    return _source(found, column, labels, how, val, test)


def files_of(path: str) -> list[Path]:
    """The files of a place on this machine; none where the path is a name on the hub."""
    place = Path(path).expanduser()
    files = sorted(place.rglob("*.parquet")) if place.is_dir() else [place] if place.is_file() else []
    is_place = place.exists() or place.suffix == ".parquet" or path.startswith((".", "/", "~"))
    if is_place and not files:
        came = "" if place.exists() else ", which is not there"
        raise UserError(
            f"dataset.path must be a Parquet file, a folder of such, or a name on the hub, got {path}{came}"
        )
    return files


def _loaded(path: str) -> dict[str, Any]:
    """The tables by split; the whole is `train`."""
    files = files_of(path)
    try:
        import datasets
    except ImportError as error:
        raise UserError("dataset=parquet needs Hugging Face's datasets; pip install 'vaelab[hf]'") from error
    try:
        if not files:
            found = datasets.load_dataset(path)
        else:
            found = datasets.load_dataset("parquet", data_files=_by_split(files))
    except Exception as error:  # of files, of the network, of the hub
        raise UserError(
            f"dataset.path must be a Parquet file, a folder of such, or a name on the hub that can be reached, got "
            f"{path} ({one_line(error, 150)})"
        ) from error
    splits = {SPLITS[name]: table for name, table in found.items() if name in SPLITS}
    if "train" not in splits:
        raise UserError(f"{path} must have a split train, got {', '.join(map(str, found))}")
    return splits


def _by_split(files: list[Path]) -> dict[str, list[str]]:
    """Files by the split that they, `test-00000-of-00001.parquet`, or their folders, `test/0.parquet`, are called."""
    splits: dict[str, list[str]] = {}
    for file in files:
        names = (re.split("[-_.]", file.stem)[0].lower(), file.parent.name.lower())
        splits.setdefault(next((SPLITS[name] for name in names if name in SPLITS), "train"), []).append(str(file))
    return splits if "train" in splits else {"train": [str(file) for file in files]}


def _columns(table: Any, image: str | None, label: str | None, path: str) -> tuple[str, str | None]:
    """The columns of pictures and labels."""
    features = table.features
    kinds = {name: type(feature).__name__ for name, feature in features.items()}
    pictures = [name for name, kind in kinds.items() if kind == "Image" or _is_bytes(features[name])]
    if image is None and len(pictures) == 1:
        image = pictures[0]
    classes = [name for name, kind in kinds.items() if kind == "ClassLabel"]
    if label is None:
        label = "label" if _is_integer(features.get("label")) else classes[0] if len(classes) == 1 else None
    columns = ", ".join(f"{one_line(name, 50)} ({kind})" for name, kind in kinds.items())
    if image not in features:
        raise UserError(f"dataset.image must name the column of the pictures in {path}, which has {columns}")
    if label is not None and not _is_integer(features.get(label)):
        raise UserError(f"dataset.label must name a column of integers or classes in {path}, which has {columns}")
    return image, label


def _is_integer(feature: Any) -> bool:
    return type(feature).__name__ == "ClassLabel" or "int" in str(getattr(feature, "dtype", ""))


def _is_bytes(feature: Any) -> bool:
    return getattr(feature, "dtype", None) == "binary" or (isinstance(feature, dict) and "bytes" in feature)


def _source(found: dict[str, Any], image: str, label: str | None, how: Fit, val: float, test: float) -> Source:
    from datasets import Image

    columns = [image] if label is None else [image, label]
    tables = {
        part: table.select_columns(columns).cast_column(image, Image(decode=False)) for part, table in found.items()
    }
    own = {part: [(part, row) for row in range(len(table))] for part, table in tables.items()}
    parts = parted(own, lambda item: str(item[1]), val, test)
    names = getattr(tables["train"].features[label], "names", None) if label is not None else None

    def read(item: tuple[str, int]) -> Example | Unreadable:
        part, row = item
        cells = tables[part][row]
        picture, value, name = cells[image] or {}, None if label is None else cells[label], f"row {row} of {part}"
        if picture.get("bytes") is None:  # a path could lead anywhere on this machine
            return Unreadable(name, "it holds no picture")
        return read_picture(picture["bytes"], name, how, value)

    return Source(parts, by_threads(read), classes=names)

"""A folder of pictures: photographs, drawings, whatever Pillow reads, each made an image of one size."""

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from vaelab.dataset.images import Dataset
from vaelab.dataset.own.pictures import Fit, endings, read_picture
from vaelab.dataset.own.prepare import own_dataset
from vaelab.dataset.own.source import SPLITS, Example, Source, Unreadable, by_threads, check_fractions, parted
from vaelab.dataset.own.stored import PARTS
from vaelab.errors import UserError, check_integer, nearest

log = logging.getLogger(__name__)

ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")


def load(
    path: str, size: int, grey: bool, fit: str, val: float, test: float, root: str, binarize: str, flip: bool
) -> Dataset:
    """The pictures below a folder, those in folders `train`, `val` and `test` as they are parted, others by a hash.

    A picture's label is the number, by name, of the folder it lies in, if all lie in one; else there are no labels.

    Args:
        path: of the folder.
        size: pixels of each side of an image.
        grey: one channel instead of three.
        fit: how a picture becomes a square: `crop`, `pad` or `stretch`.
        val: the fraction of the pictures that is kept for validation, where there is no folder `val`.
        test: the fraction that is kept for the test, where there is no folder `test`.
        root: the folder of prepared datasets.
        binarize: as `Dataset` takes it.
        flip: the same.

    Raises:
        UserError: if there is no such folder, it has no pictures, or more than a few cannot be read.
    """
    check_integer("size", size, 1)
    how = Fit(size, grey, fit)
    check_fractions(val, test)
    folder, pictures = pictures_below(path)
    stats = [(str(picture), *_stat(folder / picture)) for picture in pictures]
    identity = {**how.identity, "val": val, "test": test, "pictures": stats}
    name = f"{folder.resolve().name}-{size}x{size}{'-grey' if grey else ''}"
    return own_dataset(
        *(root, name, identity, lambda: source_of(folder, pictures, how, val, test)), binarize=binarize, flip=flip
    )


def pictures_below(path: str) -> tuple[Path, list[Path]]:
    """A folder and the pictures below it, as seen from there, in the order of their names.

    Raises:
        UserError: if there is no such folder, or it has none.
    """
    folder = Path(str(path)).expanduser()  # a name may be a number
    _check_folder(folder)
    pictures = sorted(_pictures(folder))
    if not pictures:
        raise UserError(f"dataset.path must be a folder with pictures, got {folder}, in which Pillow knows no file")
    return folder, pictures


def _check_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    if not folder.exists():
        near = nearest(folder.name, [each.name for each in folder.parent.glob("*/")] if folder.parent.is_dir() else [])
        raise UserError(f"dataset.path must be a folder of pictures, got {folder}, which is not there{near}")
    advice = "unpack it and name the folder" if folder.suffix.lower() in ARCHIVES else "name the folder it lies in"
    raise UserError(f"dataset.path must be a folder of pictures, got the file {folder}; {advice}")


def _pictures(folder: Path) -> Iterator[Path]:
    """The files that are called as pictures are, below the folder and as seen from there; links are followed once."""
    known, seen = endings(), set()
    for above, folders, files in os.walk(folder, followlinks=True):
        place = os.path.realpath(above)
        folders[:] = [] if place in seen else sorted(each for each in folders if not each.startswith("."))
        if place in seen:
            continue
        seen.add(place)
        for file in files:
            if Path(file).suffix.lower() in known and not file.startswith("."):
                yield Path(above).relative_to(folder) / file


def _split_of(picture: Path) -> str | None:
    """The split that a picture lies in the folder of."""
    return SPLITS.get(picture.parts[0].lower()) if len(picture.parts) > 1 else None


def _stat(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:  # a link to nothing is found unreadable later
        return 0, 0
    return found.st_size, found.st_mtime_ns


def source_of(folder: Path, pictures: list[Path], how: Fit, val: float, test: float) -> Source:
    """The pictures of a folder by split, with their labels and names."""
    own = {part: [each for each in pictures if _split_of(each) == part] for part in PARTS}
    if not own["train"] and (own["val"] or own["test"]):
        raise UserError(
            f"{folder} has a folder {'val' if own['val'] else 'test'} and none called train, so that its pictures "
            f"would be trained on; put the others into a folder train"
        )
    depth = 1 if own["train"] else 0  # of the folders that are no classes
    parts = parted(own if depth else {"train": pictures}, Path.as_posix, val, test)
    if outside := len(pictures) - sum(map(len, parts.values())):
        log.warning(
            "%s pictures of %s lie outside of its folders train, val and test and are left out", outside, folder
        )
    return _source(folder, parts, how, lambda picture: depth)


def whole_of(folder: Path, pictures: list[Path], how: Fit) -> Source:
    """All pictures of a folder as one part, whichever of its folders train, val and test they lie in."""
    parts: dict[str, list[Path]] = {"train": pictures, "val": [], "test": []}
    return _source(folder, parts, how, lambda picture: bool(_split_of(picture)))


def _source(folder: Path, parts: dict[str, list[Path]], how: Fit, depth_of: Callable[[Path], int]) -> Source:
    """The pictures of each part; `depth_of` one are the folders around it that are no classes."""
    kept = [picture for part in PARTS for picture in parts[part]]
    depths = [depth_of(picture) for picture in kept]
    class_of = {
        picture: picture.parts[depth]
        for picture, depth in zip(kept, depths, strict=True)
        if len(picture.parts) > depth + 1
    }
    labelled = len(class_of) == len(kept)
    classes = sorted(set(class_of.values()))
    label_of = {name: label for label, name in enumerate(classes)}

    def read(picture: Path) -> Example | Unreadable:
        return read_picture(folder / picture, str(picture), how, label_of[class_of[picture]] if labelled else None)

    return Source(parts, by_threads(read), str, classes if labelled else None)

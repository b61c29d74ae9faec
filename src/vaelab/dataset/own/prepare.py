"""Images of one's own, prepared once: read from their source, written to a file, mapped into memory at every start."""

import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from rich.console import Console
from rich.progress import Progress

from vaelab.dataset.images import Dataset
from vaelab.dataset.own.pictures import without_remarks
from vaelab.dataset.own.source import AT_ONCE, Source, Unreadable, told
from vaelab.dataset.own.stored import PARTS, Stored, StoredWriter, joined
from vaelab.dataset.prepared import OWN, in_folder, may_prepare
from vaelab.errors import UserError, one_line

log = logging.getLogger(__name__)

FORMAT = 1  # of the prepared files; with another number all are prepared anew
MOST_UNREADABLE = 0.05  # of the images
PREPARED = re.compile(r"[\w.-]+-[0-9a-f]{12}\.safetensors")
FOLDER = "name the folder of prepared datasets by $VAELAB_DATA"
ADVICE = f"{FOLDER} or dataset.root"
LONGEST_NAME = 220  # letters; with the key and the ending most file systems take 255


def own_dataset(
    root: str,
    name: str,
    identity: Any,
    source: Callable[[], Source],
    *,
    binarize: str,
    flip: bool = False,
    kind: str = OWN,
) -> Dataset:
    """The dataset of `<root>/<name>-<key>.safetensors`, which is prepared where it is missing.

    Args:
        root: the folder of the prepared datasets.
        name: the dataset's name.
        identity: all that the images depend on, source and settings, as JSON can hold it; the key is its hash.
        source: gives the images when they are to be prepared.
        binarize: as `Dataset` takes it.
        flip: the same.
        kind: `known` of what comes from the same place for everybody.

    Raises:
        UserError: if the images cannot be read, the file is damaged, or nothing may be prepared now.
    """
    key = hashlib.sha256(json.dumps([FORMAT, identity]).encode()).hexdigest()[:12]
    plain_name = re.sub("[^0-9A-Za-z_.-]+", "-", name)[:LONGEST_NAME]
    path = Path(root).expanduser() / f"{plain_name}-{key}.safetensors"
    if not path.exists():
        if not may_prepare(kind):
            raise UserError(
                f"{path} is not there, which the run was trained on, unless its images have changed since; {FOLDER}"
            )
        with in_folder(path, ADVICE):
            if not path.exists():
                _prepare(path, Preparation(name, source()))
    return _mapped(path, name, binarize, flip)


def prepared_dataset(root: str, file: str, name: str, binarize: str, flip: bool) -> Dataset:
    """The dataset of a file that was prepared before, wherever its images are now.

    Args:
        root: the folder of the prepared datasets.
        file: the file's name there, which may be told by a run of somebody else.
        name: the dataset's name.
        binarize: as `Dataset` takes it.
        flip: the same.

    Raises:
        UserError: if the file is not there, damaged, or cannot be called so.
    """
    if not PREPARED.fullmatch(file):
        raise UserError(f"a file of prepared images is called as name-0123456789ab.safetensors is, got {file}")
    path = Path(root).expanduser() / file
    if not path.exists():
        raise UserError(f"{path} is not there, which the run was trained on; {FOLDER}")
    return _mapped(path, name, binarize, flip)


def _mapped(path: Path, name: str, binarize: str, flip: bool) -> Dataset:
    if not path.is_file():  # a FIFO would wait for its other end
        raise UserError(f"{path} must be a file; move what has its name away")
    stored = Stored(path)
    return Dataset(name, stored.read, 0, binarize, flip=flip, stored=stored)


class Preparation:
    """A source on its way into a file, image by image.

    Args:
        name: the dataset's name.
        source: what is read.
    """

    def __init__(self, name: str, source: Source) -> None:
        self.name = name
        self.source = source
        self.total = sum(map(len, source.parts.values()))
        self.unreadable: list[Unreadable] = []
        self._shape: tuple[int, ...] | None = None

    def write(self, file: IO[bytes]) -> None:
        """Write all that can be read; UserError if that is too little, or has no single shape."""
        writer, console = StoredWriter(file), Console(stderr=True)
        bar = Progress(console=console, transient=True, disable=not console.is_terminal)
        with bar, without_remarks():
            task = bar.add_task(f"preparing {self.name}", total=self.total)
            columns = [self._write_images(writer, part, lambda: bar.advance(task)) for part in PARTS]
        for part, (labels, names) in zip(PARTS, columns, strict=True):
            if labels and all(label is not None for label in labels):
                writer.add(f"{part}_labels", [np.asarray(labels)], "int64")
            if self.source.name_of is not None:
                writer.add(f"{part}_names", [joined(names)], "uint8")
        if self.source.classes is not None:
            writer.add("classes", [joined(self.source.classes)], "uint8")
        writer.finish()

    def _write_images(
        self, writer: StoredWriter, part: str, advance: Callable[[], None]
    ) -> tuple[list[int | None], list[str]]:
        """Write the images of a split and return the labels and names of those that could be read."""
        labels: list[int | None] = []
        names: list[str] = []

        def chunks() -> Iterator[np.ndarray]:
            images: list[np.ndarray] = []
            items = self.source.parts[part]
            for item, found in zip(items, self.source.read(items), strict=True):
                advance()
                if isinstance(found, Unreadable):
                    self._leave_out(found)
                    continue
                self._check_shape(item, found.image)
                images.append(found.image)
                labels.append(found.label)
                if self.source.name_of is not None:
                    names.append(self.source.name_of(item))
                if len(images) == AT_ONCE:
                    yield np.stack(images)
                    images.clear()
            yield np.stack(images) if images else np.zeros((0, *(self._shape or (1, 1, 1))), np.uint8)

        count = writer.add(f"{part}_images", chunks(), "uint8")
        if not count and part != "val":
            raise UserError(
                f"{self.name} must have images for its {part} split, got none of {self.total:,}; add images or change "
                f"the fractions dataset.val and dataset.test"
            )
        return labels, names

    def _leave_out(self, found: Unreadable) -> None:
        self.unreadable.append(found)
        if len(self.unreadable) > MOST_UNREADABLE * self.total:
            raise UserError(
                f"at most {MOST_UNREADABLE:.0%} of the {self.total:,} images of {self.name} may be unreadable, got "
                f"{told(self.unreadable)}; mend or remove them"
            )

    def _check_shape(self, item: Any, image: np.ndarray) -> None:
        self._shape = self._shape or image.shape
        if image.shape != self._shape:
            of = f" of {one_line(self.source.name_of(item), 200)}" if self.source.name_of is not None else ""
            raise UserError(
                f"all images of {self.name} must have one shape (C, H, W), got {self._shape} and {image.shape}{of}; "
                f"make them alike, of pictures by dataset.size"
            )


def _prepare(path: Path, preparation: Preparation) -> None:
    """Write the file, whole or not at all."""
    temporary = path.with_suffix(".tmp")  # of one process at a time, so that the next overwrites what a kill has left
    try:
        with temporary.open("wb") as file:
            preparation.write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise UserError(
            f"{path} could not be prepared ({error}); if the disk is full, free some space or change dataset.root"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    if preparation.unreadable:
        count = len(preparation.unreadable)
        log.warning(
            f"%s of the %s images of %s could not be read and {'is' if count == 1 else 'are'} left out: %s",
            *(f"{count:,}", f"{preparation.total:,}", preparation.name, told(preparation.unreadable)),
        )

"""Embeddings of images as a table: of a split of the run's dataset, of pictures, of an array, of a Parquet file."""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from vaelab.dataset import array, parquet
from vaelab.dataset.folder import pictures_below, whole_of
from vaelab.dataset.own.levels import Levels
from vaelab.dataset.own.pictures import FITS, Fit, endings, without_remarks
from vaelab.dataset.own.source import AT_ONCE, Example, Source, Unreadable, told
from vaelab.dataset.own.stored import PARTS
from vaelab.distributions import Normal
from vaelab.errors import UserError, visible
from vaelab.run.load import SPLITS, Run
from vaelab.vae import VAE


@dataclass
class Encoded:
    """What became of each image that could be read.

    Attributes:
        columns: `mean` and `std` of q(z|x), (N, D), or of a posterior that is no diagonal normal `z` at zero noise.
        labels: one an image, or none.
        names: of files or rows, one an image.
        classes: what each label means, where that is known.
        unreadable: what could not be read.
    """

    columns: dict[str, list[np.ndarray]] = field(default_factory=dict)
    labels: list[int | None] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    classes: Sequence[str] | None = None
    unreadable: list[Unreadable] = field(default_factory=list)

    def arrays(self) -> dict[str, np.ndarray]:
        """All columns, (N, D) or (N,), in the order in which they are written."""
        found: dict[str, np.ndarray] = {"name": np.array([visible(name) for name in self.names])}
        if self.labels and all(label is not None for label in self.labels):
            found["label"] = np.array(self.labels)
            if self.classes is not None:
                found["class"] = np.array([visible(self.classes[label]) for label in self.labels])
        return {**found, **{name: np.concatenate(chunks) for name, chunks in self.columns.items()}}


def encode_images(run: Run, data: str, advance: Callable[[int], None]) -> Encoded:
    """The embeddings of images.

    Args:
        run: whose model is asked.
        data: `train`, `val` or `test` of the run's dataset, a picture or a folder of such, an array or a Parquet file.
        advance: called with numbers of images that are done.

    Raises:
        UserError: if the images are not there, or not of the run's form.
    """
    every, classes = _examples(run, data)
    found = Encoded(classes=classes)
    with without_remarks():
        for examples in iter(lambda: list(islice(every, AT_ONCE)), []):
            advance(len(examples))
            found.unreadable += [example for _, example in examples if isinstance(example, Unreadable)]
            good = [(name, example) for name, example in examples if isinstance(example, Example)]
            if good:
                found.names += [name for name, _ in good]
                found.labels += [example.label for _, example in good]
                _encode(run, [example for _, example in good], data, found.columns)
    if not found.names:
        reasons = f": {told(found.unreadable)}" if found.unreadable else ""
        raise UserError(f"no image of {data} could be read{reasons}")
    return found


def _encode(run: Run, examples: Sequence[Example], data: str, columns: dict[str, list[np.ndarray]]) -> None:
    shapes = {example.image.shape for example in examples}
    if shapes != {tuple(run.facts.image_shape)}:
        raise UserError(
            f"the images of {data} must have the shape {run.facts.image_shape} of the training, got "
            f"{', '.join(map(str, sorted(shapes)))}"
        )
    x, y = torch.from_numpy(np.stack([example.image for example in examples])), None
    if run.model.takes_labels:
        labels = [example.label for example in examples]
        if not all(label is not None and 0 <= label < (run.facts.num_classes or 0) for label in labels):
            raise UserError(
                f"the model takes labels from 0 to {(run.facts.num_classes or 0) - 1}, which {data} has not; pictures "
                f"have them by folders inside of it, each called as its class, and arrays beside the images"
            )
        y = torch.tensor(labels)
    if isinstance(run.model, VAE) and isinstance(q := run.posterior(x, y), Normal):
        parts = {"mean": q.mean, "std": (0.5 * q.log_var).exp()}
    else:
        parts = {"z": run.encode(x, y)}
    for name, values in parts.items():
        columns.setdefault(name, []).append(values.cpu().numpy())


Examples = Iterator[tuple[str, Example | Unreadable]]


def _examples(run: Run, data: str) -> tuple[Examples, Sequence[str] | None]:
    """What the images are called with they themselves, and what their labels mean, where that is known."""
    place = Path(data).expanduser()
    if data in SPLITS and not place.exists():
        return _of_split(run, data), _classes(run)
    source = _source(run, place, data)
    classes = None if source.classes is None else _numbering(run, source.classes, data)
    return _of_source(source, classes), classes


def _source(run: Run, place: Path, data: str) -> Source:
    own, suffix = run.config.get("dataset", {}), place.suffix.lower()
    if (place.is_file() and suffix == ".parquet") or (place.is_dir() and next(place.rglob("*.parquet"), None)):
        columns = _columns(parquet.files_of(data)[0])
        image, label = (own.get(key) if own.get(key) in columns else None for key in ("image", "label"))
        return parquet.source_of(data, image, label, _fit(run, data), 0, 0)
    if place.is_dir():
        return whole_of(*pictures_below(data), _fit(run, data))
    if place.is_file() and suffix in array.SUFFIXES:
        try:
            levels = Levels(own.get("float_range", [0, 1]))
        except ValueError as error:
            raise UserError(f"dataset.{error}") from error
        return array.source_of(place, None, levels, 0, 0)
    if place.is_file() and suffix in endings():
        return whole_of(place.parent, [Path(place.name)], _fit(run, data))
    raise UserError(
        f"what is encoded must be train, val or test, a picture, a folder of pictures, or a file .parquet "
        f"{' '.join(array.SUFFIXES)}, got {data}"
    )


def _columns(file: Path) -> Sequence[str]:
    """The names of a Parquet file's columns; none of what is no such file, which its reader says."""
    from pyarrow import ArrowException
    from pyarrow.parquet import read_schema

    try:
        return read_schema(file).names
    except (ArrowException, OSError):
        return []


def _numbering(run: Run, classes: Sequence[str], data: str) -> Sequence[str]:
    """The classes in the order of their labels: the run's own, where those of other images are among them."""
    try:
        known = _classes(run)
    except UserError:  # the run's images are not on this machine
        if run.model.takes_labels:
            raise
        known = None
    if known is not None and set(classes) <= set(known):
        return known
    if run.model.takes_labels:
        raise UserError(
            f"the model takes labels, and the classes of {data} must have the names of its own "
            f"({', '.join(known[:10]) if known else 'which its dataset has not'}); encode an array with labels instead"
        )
    return classes


def _classes(run: Run) -> Sequence[str] | None:
    stored = run.dataset.stored
    return None if stored is None else stored.classes


def _of_split(run: Run, part: str) -> Examples:
    dataset = run.dataset
    split = dataset.test() if part == "test" else getattr(dataset, part)
    names = None if dataset.stored is None else dataset.stored.names(part)
    for row, image in enumerate(split.images):
        label = None if split.labels is None else int(split.labels[row])
        yield str(row) if names is None else names[row], Example(image.numpy(), label)


def _of_source(source: Source, classes: Sequence[str] | None) -> Examples:
    """All images of a source, their labels those of the classes in another order."""
    label_of = None if source.classes is None or classes is None else [classes.index(name) for name in source.classes]
    several = sum(map(bool, source.parts.values())) > 1
    for part in PARTS:
        items = source.parts[part]
        for row, (item, example) in enumerate(zip(items, source.read(items), strict=True)):
            if label_of is not None and isinstance(example, Example) and example.label is not None:
                known = 0 <= example.label < len(label_of)  # a hub's labels that are withheld are -1
                example = example._replace(label=label_of[example.label] if known else None)
            by_row = f"{part}/{row}" if several else str(row)
            yield by_row if source.name_of is None else source.name_of(item), example


def _fit(run: Run, data: str) -> Fit:
    """How the run's own pictures were made images, or else cut to squares of its size."""
    channels, height, width = run.facts.image_shape
    own = run.config.get("dataset", {})
    if own.get("size", width) is None and channels in (1, 3):
        return Fit(None, channels == 1, "crop")
    if height != width or channels not in (1, 3):
        raise UserError(
            f"pictures become squares, grey or in colour, and the run is of images {run.facts.image_shape}; encode an "
            f"array instead of {data}"
        )
    fit, middle = own.get("fit", "crop"), own.get("middle")
    return Fit(width, channels == 1, fit if fit in FITS else "crop", middle if isinstance(middle, int) else None)


def check_parquet() -> None:
    """Raise UserError unless the package is there that writes Parquet."""
    if find_spec("pyarrow") is None:
        raise UserError("Parquet needs pyarrow; pip install 'vaelab[hf]', or name an .npz file")


def as_bytes(found: Encoded, suffix: str) -> bytes:
    """The table as the content of a `.parquet` or `.npz` file."""
    arrays, content = found.arrays(), io.BytesIO()
    if suffix == ".npz":
        np.savez(content, **arrays)
        return content.getvalue()
    import pyarrow
    from pyarrow import parquet as writer

    columns = {
        name: pyarrow.FixedSizeListArray.from_arrays(values.ravel(), values.shape[1]) if values.ndim == 2 else values
        for name, values in arrays.items()
    }
    writer.write_table(pyarrow.table(columns), content)
    return content.getvalue()

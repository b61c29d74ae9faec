"""Embeddings of images as a table: of a split of the run's dataset, of a folder of pictures, of an array."""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from vaelab.dataset.array import SUFFIXES
from vaelab.dataset.array import source_of as source_of_array
from vaelab.dataset.folder import pictures_below, whole_of
from vaelab.dataset.own.levels import Levels
from vaelab.dataset.own.pictures import FITS, Fit
from vaelab.dataset.own.source import AT_ONCE, Example, Source, Unreadable
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
        unreadable: what could not be read.
    """

    columns: dict[str, list[np.ndarray]] = field(default_factory=dict)
    labels: list[int | None] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)

    def arrays(self) -> dict[str, np.ndarray]:
        """All columns, (N, D) or (N,), in the order in which they are written."""
        found: dict[str, np.ndarray] = {"name": np.array([visible(name) for name in self.names])}
        if self.labels and all(label is not None for label in self.labels):
            found["label"] = np.array(self.labels)
        return {**found, **{name: np.concatenate(chunks) for name, chunks in self.columns.items()}}


def encode_images(run: Run, data: str, advance: Callable[[int], None]) -> Encoded:
    """The embeddings of images.

    Args:
        run: whose model is asked.
        data: `train`, `val` or `test` of the run's dataset, a folder of pictures, or a file with an array.
        advance: called with numbers of images that are done.

    Raises:
        UserError: if the images are not there, or not of the run's form.
    """
    found = Encoded()
    every = _examples(run, data)
    for examples in iter(lambda: list(islice(every, AT_ONCE)), []):
        advance(len(examples))
        found.unreadable += [example for _, example in examples if isinstance(example, Unreadable)]
        good = [(name, example) for name, example in examples if isinstance(example, Example)]
        if good:
            found.names += [name for name, _ in good]
            found.labels += [example.label for _, example in good]
            _encode(run, [example for _, example in good], data, found.columns)
    if not found.names:
        raise UserError(f"no image of {data} could be read")
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
                f"the model takes labels from 0 to {(run.facts.num_classes or 0) - 1}, which {data} has not"
            )
        y = torch.tensor(labels)
    if isinstance(run.model, VAE) and isinstance(q := run.posterior(x, y), Normal):
        parts = {"mean": q.mean, "std": (0.5 * q.log_var).exp()}
    else:
        parts = {"z": run.encode(x, y)}
    for name, values in parts.items():
        columns.setdefault(name, []).append(values.cpu().numpy())


def _examples(run: Run, data: str) -> Iterator[tuple[str, Example | Unreadable]]:
    """What the images are called, and they themselves."""
    place = Path(data).expanduser()
    if data in SPLITS and not place.exists():
        yield from _of_split(run, data)
        return
    if place.is_dir():
        source = whole_of(*pictures_below(data), _fit(run, data))
    elif place.is_file() and place.suffix.lower() in SUFFIXES:
        try:
            levels = Levels(run.config.get("dataset", {}).get("float_range", [0, 1]))
        except ValueError as error:
            raise UserError(f"dataset.{error}") from error
        source = source_of_array(place, None, levels, 0, 0)
    else:
        raise UserError(
            f"what is encoded must be train, val or test, a folder of pictures, or a file {' '.join(SUFFIXES)}, got "
            f"{data}"
        )
    label_of = None if source.classes is None else _labels_by_name(run, source.classes, data)
    for name, example in _of_source(source):
        if label_of is not None and isinstance(example, Example) and example.label is not None:
            example = Example(example.image, label_of[example.label])
        yield name, example


def _labels_by_name(run: Run, classes: Sequence[str], data: str) -> Sequence[int]:
    """The run's own number of each class of other images, which may be fewer, by their names; else numbers anew."""
    try:
        stored = run.dataset.stored
    except UserError:  # the run's images are not on this machine
        if run.model.takes_labels:
            raise
        stored = None
    known = stored.classes if stored is not None else None
    if known is not None and set(classes) <= set(known):
        return [known.index(name) for name in classes]
    if run.model.takes_labels:
        raise UserError(
            f"the model takes labels, and the folders of {data} must have the names of its classes "
            f"({', '.join(known[:10]) if known else 'which its dataset has not'}); encode an array with labels instead"
        )
    return range(len(classes))


def _of_split(run: Run, part: str) -> Iterator[tuple[str, Example]]:
    dataset = run.dataset
    split = dataset.test() if part == "test" else getattr(dataset, part)
    names = None if dataset.stored is None else dataset.stored.names(part)
    for row, image in enumerate(split.images):
        label = None if split.labels is None else int(split.labels[row])
        yield str(row) if names is None else names[row], Example(image.numpy(), label)


def _of_source(source: Source) -> Iterator[tuple[str, Example | Unreadable]]:
    for part in PARTS:
        items = source.parts[part]
        for row, (item, example) in enumerate(zip(items, source.read(items), strict=True)):
            yield str(row) if source.name_of is None else source.name_of(item), example


def _fit(run: Run, data: str) -> Fit:
    """How the run's own pictures were made images, or else cut to squares of its size."""
    channels, height, width = run.facts.image_shape
    if height != width or channels not in (1, 3):
        raise UserError(
            f"pictures become squares, grey or in colour, and the run is of images {run.facts.image_shape}; encode an "
            f"array instead of {data}"
        )
    own = run.config.get("dataset", {})
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
    from pyarrow import parquet

    columns = {
        name: pyarrow.FixedSizeListArray.from_arrays(values.ravel(), values.shape[1]) if values.ndim == 2 else values
        for name, values in arrays.items()
    }
    parquet.write_table(pyarrow.table(columns), content)
    return content.getvalue()

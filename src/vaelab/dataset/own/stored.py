"""A prepared dataset as one safetensors file: written as its images come, mapped into memory when it is used."""

import json
import math
import mmap
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from vaelab.dataset.images import Split
from vaelab.errors import UserError

PARTS = ("train", "val", "test")
HEADER_BYTES = 4096  # kept free at the start for what is known at the end
# a private mapping may be written, as torch wants; without a reserve it may be larger than memory, for nobody writes
PRIVATE = mmap.PROT_READ | mmap.PROT_WRITE
NO_RESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)  # named from Python 3.13 on
ALIGNMENT = 8  # bytes, of the widest numbers here
DTYPES = {"uint8": "U8", "int64": "I64"}
SEPARATOR = b"\0"  # no file's name can have it


class StoredWriter:
    """Writes tensors one after the other, each as its rows come, so that no more than a few rows are in memory.

    Args:
        file: opened for writing bytes.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._entries: dict[str, dict[str, object]] = {}
        self._end = 0
        file.write(b" " * (8 + HEADER_BYTES))

    def add(self, name: str, chunks: Iterable[np.ndarray], dtype: str) -> int:
        """Write a tensor of all rows in the chunks, uint8 or int64, and return how many there are."""
        start, rows, row = self._end, 0, ()
        for chunk in chunks:
            rows, row = rows + len(chunk), chunk.shape[1:]
            self._end += self._file.write(np.ascontiguousarray(chunk, dtype).tobytes())
        self._entries[name] = {"dtype": DTYPES[dtype], "shape": [rows, *row], "data_offsets": [start, self._end]}
        if padding := -self._end % ALIGNMENT:  # the format allows no holes
            self._entries[f"padding_{len(self._entries)}"] = {
                "dtype": "U8",
                "shape": [padding],
                "data_offsets": [self._end, self._end + padding],
            }
            self._end += self._file.write(bytes(padding))
        return rows

    def finish(self) -> None:
        """Write the header, after which the file is whole."""
        header = json.dumps(self._entries).encode()
        self._file.seek(0)
        self._file.write(HEADER_BYTES.to_bytes(8, "little") + header.ljust(HEADER_BYTES))


class Stored:
    """The splits of such a file, as tensors that lie in the file and come into memory where they are read.

    Args:
        path: of the file.

    Raises:
        UserError: if it is damaged or holds something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with safe_open(path, "np") as file:  # reads and checks the header alone
                slices = {name: file.get_slice(name) for name in sorted(file.keys())}
                self._shapes = {name: tuple(each.get_shape()) for name, each in slices.items()}
                kinds = {name: each.get_dtype() for name, each in slices.items()}
            with path.open("rb") as opened:
                offsets = json.loads(opened.read(8 + HEADER_BYTES)[8:])
                self._memory = mmap.mmap(opened.fileno(), 0, flags=mmap.MAP_PRIVATE | NO_RESERVE, prot=PRIVATE)
        except (SafetensorError, OSError, ValueError) as error:
            raise UserError(
                f"{path} is damaged or cut short ({error}); move it away and run again to prepare it anew"
            ) from error
        is_label = {name: name.endswith("_labels") for name in kinds}
        if (
            any(len(self._shapes.get(f"{part}_images", ())) != 4 for part in PARTS)
            or any(
                self._shapes[name] != self._shapes[name.replace("labels", "images")][:1]
                for name in kinds
                if is_label[name]
            )
            or any(kind != DTYPES["int64" if is_label[name] else "uint8"] for name, kind in kinds.items())
        ):
            raise UserError(
                f"{path} must hold uint8 images (N, C, H, W) of {', '.join(PARTS)} and their int64 labels, got "
                f"{self._shapes}; move it away and run again to prepare it anew"
            )
        self._starts = {name: 8 + HEADER_BYTES + offsets[name]["data_offsets"][0] for name in self._shapes}

    def read(self, part: str) -> Split:
        """The split `train`, `val` or `test`."""
        labels = f"{part}_labels"
        return Split(
            self._tensor(f"{part}_images", torch.uint8),
            self._tensor(labels, torch.int64) if labels in self._shapes else None,
        )

    def names(self, part: str) -> list[str] | None:
        """What each image of a split is called, such as its file; None where they have no names."""
        return self._texts(f"{part}_names")

    @property
    def classes(self) -> list[str] | None:
        """What each label means; None where that is not known."""
        return self._texts("classes")

    def release(self) -> None:
        """Give the memory of what was read back to the system; what is asked for again is read again."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._memory.madvise(mmap.MADV_DONTNEED)

    def _tensor(self, name: str, dtype: torch.dtype) -> torch.Tensor:
        shape = self._shapes[name]
        count = math.prod(shape)
        if not count:
            return torch.zeros(shape, dtype=dtype)
        return torch.frombuffer(self._memory, dtype=dtype, count=count, offset=self._starts[name]).view(shape)

    def _texts(self, name: str) -> list[str] | None:
        if name not in self._shapes:
            return None
        joined = self._tensor(name, torch.uint8).numpy().tobytes()
        return [text.decode(errors="surrogateescape") for text in joined.split(SEPARATOR)[:-1]]


def joined(texts: Iterable[str]) -> np.ndarray:
    """Texts as one row of bytes, (M,) uint8, each ended by a byte 0."""
    ended = b"".join(text.encode(errors="surrogateescape") + SEPARATOR for text in texts)
    return np.frombuffer(ended, np.uint8)

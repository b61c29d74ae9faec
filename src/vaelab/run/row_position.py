"""The place in `metrics.jsonl` up to which rows were written: by bytes, by lines, and by their checksum."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO

from vaelab.run.rows import METRICS, MOST_ROWS
from vaelab.training.restored import count, entries

CHUNK = 1 << 20  # bytes; no line is longer
LOST = b"{}\n"  # a row that is lost, so that the others keep the numbers of their lines
START: Mapping[str, Any] = {"bytes": 0, "rows": 0, "sha256": hashlib.sha256().hexdigest(), "last": ""}


def checked(saved: object) -> dict[str, Any]:
    """A state that a checkpoint has kept; ValueError where it can be none."""
    state = entries(f"the place in {METRICS}", saved, START)
    for name in ("bytes", "rows"):
        state[name] = count(f"{name} of {METRICS}", state[name])
    if state["rows"] > MOST_ROWS or state["bytes"] < len(LOST) * state["rows"]:
        raise ValueError(f"rows of {METRICS} must be {MOST_ROWS:,} at most, in as many bytes, got {state['rows']:,}")
    for name in ("sha256", "last"):
        if not isinstance(state[name], str) or not state[name].isascii():
            raise ValueError(f"{name} of {METRICS} must be ASCII text, got a {type(state[name]).__name__}")
    return state


class RowPosition:
    """Counts lines as they are written or read.

    Args:
        lines: to begin with.
    """

    def __init__(self, lines: Iterable[bytes] = ()) -> None:
        self.bytes = 0
        self.rows = 0
        self._last = b""
        self._sum = hashlib.sha256()
        for line in lines:
            self.count(line)

    @classmethod
    def of(cls, file: BinaryIO, size: int) -> "RowPosition":
        """That of the last whole line among the first bytes of a file."""
        found, rest = cls(), b""
        for start in range(0, size, CHUNK):
            content = os.pread(file.fileno(), min(CHUNK, size - start), start)
            *lines, rest = (rest + content).split(b"\n")
            for line in lines:
                found.count(line + b"\n")
            if not content or len(rest) > CHUNK:
                break
        return found

    def count(self, line: bytes) -> None:
        """Go behind a line, which ends with a newline."""
        self.bytes += len(line)
        self.rows += 1
        self._last = line
        self._sum.update(line)

    @property
    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        return {
            "bytes": self.bytes,
            "rows": self.rows,
            "sha256": self._sum.hexdigest(),
            "last": self._last.decode(),
        }

    def is_that_of(self, state: Mapping[str, Any]) -> bool:
        """Whether the lines up to here are those of a state."""
        return (self.bytes, self._sum.hexdigest()) == (state["bytes"], state["sha256"])

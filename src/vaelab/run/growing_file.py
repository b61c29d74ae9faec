"""Whole lines of a file that another process appends to, or replaces."""

from collections.abc import Iterator
from pathlib import Path

from vaelab.files import folder

LARGEST_CHUNK = 64_000_000  # bytes read at a time


class GrowingFile:
    """The whole lines of a growing file, with their numbers."""

    def __init__(self, run_dir: Path, name: str, from_end: bool = False) -> None:
        self._run_dir, self._name = run_dir, name
        self._inode = self._inode_now()
        self._position = folder.size(run_dir, name) if from_end else 0
        self._number = 0

    def new(self) -> Iterator[tuple[int, bytes]]:
        """Those that came since the last call; all of them anew where another file has come in the place of the old."""
        if self._inode != self._inode_now():
            self._inode, self._position, self._number = self._inode_now(), 0, 0
        while content := folder.read_on(self._run_dir, self._name, self._position, LARGEST_CHUNK):
            *lines, _ = content.split(b"\n")
            if not lines:
                return
            for line in lines:
                yield self._number, line
                self._position += len(line) + 1
                self._number += 1

    def count(self) -> int:
        """How many there are in all."""
        return folder.read_on(self._run_dir, self._name, 0, folder.size(self._run_dir, self._name)).count(b"\n")

    def _inode_now(self) -> int | None:
        try:
            return (self._run_dir / self._name).lstat().st_ino
        except OSError:
            return None

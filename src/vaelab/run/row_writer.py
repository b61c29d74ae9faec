"""`metrics.jsonl`, a JSON object a line: each row is there to the last byte, or it is said how many are not.

A checkpoint keeps how many bytes and rows there were and their checksum. A run that goes on from it cuts off the rows
that came later. Where the rows before are not those of the checkpoint, the file is kept as `metrics.damaged.jsonl`, the
rows in it that can still be read are kept in `metrics.jsonl`, and one warning says how many could not. A row that is
lost leaves `{}`, so that the others keep the numbers of their lines, which are their steps in W&B.
"""

import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from vaelab.errors import UserError
from vaelab.files import folder
from vaelab.run.row_position import LOST, START, RowPosition, checked
from vaelab.run.rows import METRICS

log = logging.getLogger(__name__)

LARGEST = 1 << 30  # bytes of a damaged file that are looked through for rows


class RowWriter:
    """Appends rows; the file comes with the first one, so that a run that never begins leaves none.

    Args:
        run_dir: the run's directory.
    """

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._path = run_dir / METRICS
        self._file: BinaryIO | None = None
        self._identity: tuple[int, int] | None = None
        self._level = logging.WARNING  # at which it is said that the file was changed meanwhile
        self._at = RowPosition()

    def append(self, row: Mapping[str, Any]) -> int:
        """Write a row; returns the number of its line, from 1.

        A file that was deleted, replaced or cut short meanwhile is first completed again, as far as its rows are left;
        of what lay there in its place nothing is lost, and the first time a warning says so.

        Raises:
            UserError: at the first row, if something else than a file has its name.
            OSError: if it cannot be written.
        """
        if self._file is None:
            self._open()
            self._at = RowPosition.of(self._file, os.fstat(self._file.fileno()).st_size)
            self._file.truncate(self._at.bytes)  # a torn last line
        elif not self._is_intact():
            self._make_whole()
        line = json.dumps(row).encode() + b"\n"
        self._file.write(line)
        self._file.flush()
        self._at.count(line)
        return self._at.rows

    def __len__(self) -> int:
        """Lines that were written, or were there when the run was resumed."""
        return self._at.rows

    @property
    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, of rows that are safely on the disk then."""
        if self._file is not None:
            os.fsync(self._file.fileno())
        return self._at.state

    def rewind(self, state: Mapping[str, Any] | None) -> None:
        """Go back to where a checkpoint was written, None for the beginning; what came later is cut off.

        Raises:
            ValueError: if it can be no state.
            UserError: if something else than a file has its name.
            OSError: if it cannot be written.
        """
        state = START if state is None else checked(state)
        self._at = RowPosition()
        if not os.path.lexists(self._path):
            if state["rows"]:
                log.warning("%s is gone: its %d rows are lost, and the run goes on", self._path, state["rows"])
                self._write_anew([LOST] * state["rows"])
            return
        self._open()
        if self._holds(state):
            self._file.truncate(self._at.bytes)
            return
        kept_as, lost = self._salvage(state)
        log.warning(
            "%s is not what it was when the checkpoint was written and is kept as %s; of the %d rows before %s",
            *(self._path, kept_as, state["rows"], lost),
        )

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            file, self._file = self._file, None
            file.close()

    def _open(self) -> None:
        self.close()
        self._file = folder.append(self._run_dir, METRICS)
        found = os.fstat(self._file.fileno())
        self._identity = found.st_dev, found.st_ino

    def _holds(self, state: Mapping[str, Any]) -> bool:
        """Whether the open file begins with the rows of that state, to whose end this then goes."""
        self._at = RowPosition.of(self._file, state["bytes"])
        return self._at.is_that_of(state)

    def _is_intact(self) -> bool:
        try:
            found = self._path.lstat()
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == self._identity and found.st_size == self._at.bytes

    def _make_whole(self) -> None:
        """Bring all rows back where the process still holds them, as it does of a file that was deleted or replaced."""
        state = self.state
        if self._holds(state):
            content = os.pread(self._file.fileno(), state["bytes"], 0)
            kept_as, _ = self._put_aside()
            folder.write(self._run_dir, METRICS, content)
            self._open()
            lost = "none is lost"
        else:
            kept_as, lost = self._salvage(state)
        log.log(
            self._level,
            "%s was changed while the run wrote to it; what lay there is kept as %s; of the %d rows before %s",
            *(self._path, kept_as, state["rows"], lost),
        )
        self._level = logging.DEBUG

    def _salvage(self, state: Mapping[str, Any]) -> tuple[str, str]:
        """Keep of the file what can be read; returns under which name all of it is kept, and how much is lost."""
        kept_as, content = self._put_aside()
        last = state["last"].encode()
        end = content.find(last) + len(last) if last and last in content else state["bytes"]
        found = content[:end].split(b"\n")[: state["rows"]]
        kept = [line + b"\n" if _is_row(line) else LOST for line in found]
        kept += [LOST] * (state["rows"] - len(kept))
        self._write_anew(kept)
        lost = kept.count(LOST)
        return kept_as, f"{lost} cannot be read" if lost else "all can be read, though something in them has changed"

    def _write_anew(self, lines: Sequence[bytes]) -> None:
        folder.write(self._run_dir, METRICS, b"".join(lines))
        self._open()
        self._at = RowPosition(lines)

    def _put_aside(self) -> tuple[str, bytes]:
        """Keep what lies there under a name that is free; returns the name and the content, where it can be read."""
        number = 1
        while os.path.lexists(self._run_dir / (name := _damaged(number))):
            number += 1
        try:
            content = folder.read(self._run_dir, METRICS, LARGEST)
        except FileNotFoundError:
            return "nothing", b""
        except UserError:  # a link, a folder, or larger than can be read
            folder.rename(self._run_dir, METRICS, name)
            return name, b""
        folder.write(self._run_dir, name, content)
        return name, content


def _damaged(number: int) -> str:
    return "metrics.damaged.jsonl" if number == 1 else f"metrics.damaged-{number}.jsonl"


def _is_row(line: bytes) -> bool:
    """Whether a line holds finite numbers by name, `step` and `epoch` among them, as those who read rows expect."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return False
    if not isinstance(row, dict) or not {"step", "epoch"} <= row.keys():
        return False
    return all(type(value) in (int, float) and abs(value) <= sys.float_info.max for value in row.values())

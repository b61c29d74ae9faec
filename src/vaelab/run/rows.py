"""Rows of `metrics.jsonl`, as they are read: each a JSON object with a step and an epoch."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vaelab.errors import UserError, is_number
from vaelab.files import folder, plain_json

METRICS = "metrics.jsonl"
LARGEST_METRICS = 256_000_000  # bytes; a row of a run has 300
LARGEST_ROW = 100_000  # bytes
MOST_ROWS = 2_000_000
TAIL_BYTES = 4096  # holds the last rows


def read_rows(run_dir: Path) -> list[dict[str, Any]]:
    """All rows of a run directory, up to the last whole line; none where there is no such file.

    Raises:
        UserError: if it is damaged.
        OSError: if it cannot be read.
    """
    rows: list[dict[str, Any]] = []
    for number, row in enumerate(whole_lines(run_dir), 1):
        if row is None:
            raise UserError(f"{run_dir / METRICS} must hold a JSON object in each line, line {number} is damaged")
        rows.append(row)
    return rows


def whole_lines(run_dir: Path) -> Iterator[dict[str, Any] | None]:
    """What the whole lines hold, None for a line that is damaged.

    Raises:
        UserError: if there are too many, or it is no regular file.
        OSError: if it cannot be read.
    """
    try:
        content = folder.read(run_dir, METRICS, LARGEST_METRICS)
    except FileNotFoundError:
        return
    for number, line in enumerate(io.BytesIO(content)):
        if number == MOST_ROWS:
            raise UserError(f"{run_dir / METRICS} may hold {MOST_ROWS:,} rows at most; move it away")
        if line.endswith(b"\n"):  # what follows the last one is being written, or was cut off
            yield plain_json.load_object(line) if len(line) <= LARGEST_ROW else None


def last_training_row(run_dir: Path) -> dict[str, float]:
    """The numbers of the last whole row about training, of a run that may go on; none where there is no such row."""
    try:
        start = max(0, folder.size(run_dir, METRICS) - TAIL_BYTES)
        lines = folder.read_on(run_dir, METRICS, start, TAIL_BYTES).split(b"\n")[:-1]
    except (OSError, UserError):
        return {}
    line = next((line for line in reversed(lines) if b'"train/' in line), b"")
    row = plain_json.load_object(line) or {}  # the first may be cut off
    return {name: value for name, value in row.items() if is_number(value)}

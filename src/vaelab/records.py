"""The small files of a run directory: each is there whole, or as it was before."""

import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from vaelab import folder
from vaelab.errors import UserError, one_line

log = logging.getLogger(__name__)

WAIT_SECONDS = 60


def read_summary(run_dir: Path) -> dict[str, Any]:
    """`summary.json` of a run directory, nothing where there is none, its status alone where it is damaged."""
    path = run_dir / "summary.json"
    try:
        return json.loads(path.read_text()) if path.exists() else {}
    except ValueError:
        return {"status": "damaged"}


def write_summary(run_dir: Path, summary: Mapping[str, Any], tolerant: bool = False) -> None:
    """Write `summary.json`; with `tolerant` a disk that is full is passed over."""
    try:
        write_text(run_dir / "summary.json", json.dumps(summary, indent=2, allow_nan=False) + "\n")
    except OSError:
        if not tolerant:  # on a full disk the first error is the one to show
            raise


def record_death(run_dir: Path, overrides: Sequence[str], error: Exception) -> None:
    """Write into `summary.json` how a run failed whose process could not write it any more."""
    summary = {"overrides": list(overrides), **read_summary(run_dir)}
    write_summary(run_dir, {**summary, "status": "failed", "error": one_line(error)}, tolerant=True)


def read_metrics(run_dir: Path) -> list[dict[str, Any]]:
    """The rows of `metrics.jsonl` in a run directory, up to the last whole line; none where there is no such file."""
    path = run_dir / "metrics.jsonl"
    if not path.exists():
        return []
    whole_lines = path.read_bytes().split(b"\n")[:-1]
    return [json.loads(line) for line in whole_lines]


@contextmanager
def only_writer(run_dir: Path) -> Iterator[None]:
    """Keep other processes that also ask for it out of a run directory.

    Raises:
        UserError: if another process is at work there and does not end within a minute, or `.lock` is no regular file.
    """
    folder.append(run_dir, ".lock").close()  # not every release of filelock leaves alone what a link names
    lock = FileLock(run_dir / ".lock")
    with suppress(NotImplementedError):  # some network file systems cannot lock
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.info("another process is at work in %s; waiting for it to end", run_dir)
            try:
                lock.acquire(timeout=WAIT_SECONDS)
            except Timeout as error:
                raise UserError(f"{run_dir} is in use by another process; wait for it, or stop it first") from error
    try:
        yield
    finally:
        lock.release()


def epoch_means(rows: Sequence[Mapping[str, Any]], name: str) -> list[tuple[float, float]]:
    """(epoch, mean over its rows, each weighted by its steps) for every epoch, the last one perhaps unfinished."""
    epochs: dict[int, tuple[float, float, float]] = {}  # number -> (end, weighted sum, steps)
    before = 0
    for row in (row for row in rows if name in row):
        number, steps = math.ceil(row["epoch"]), row["step"] - before
        _, weighted, total = epochs.get(number, (0.0, 0.0, 0))
        epochs[number] = (row["epoch"], weighted + row[name] * steps, total + steps)
        before = row["step"]
    return [(end, weighted / total) for end, weighted, total in epochs.values() if total]


def write_text(path: Path, text: str) -> None:
    """Write a small file so that it is there whole or as it was."""
    folder.write(path.parent, path.name, text.encode())

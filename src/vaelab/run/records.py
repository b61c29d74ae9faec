"""The small files of a run directory: each is there whole, or as it was before."""

import hashlib
import io
import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from filelock import FileLock, Timeout

from vaelab.errors import UserError, one_line
from vaelab.files import folder

log = logging.getLogger(__name__)

WAIT_SECONDS = 60
SUMMARY, METRICS = "summary.json", "metrics.jsonl"
UNREACHABLE = ".wandb_unreachable"  # in the directory of a sweep: a job has asked for W&B's server in vain
CHECKSUM = "checksum"  # of the rest of a summary
LARGEST_SUMMARY = 4_000_000  # bytes; those of a run are 2,000
LARGEST_METRICS = 256_000_000  # bytes; a row of a run has 300
LARGEST_ROW = 100_000  # bytes
MOST_ROWS = 2_000_000
LARGEST_NUMBER = 1e300  # so that a difference of two is a number too
DEEPEST = 50
# What a summary may leave out but not have otherwise.
PARTS: dict[str, tuple[Any, str]] = {
    **dict.fromkeys(("status", "error"), (str, "text")),
    **dict.fromkeys(("name", "group"), (str | None, "text or null")),
    **dict.fromkeys(("choices", "metrics", "setting", "versions"), (dict, "a mapping")),
    "overrides": (list, "a list"),
}


def read_summary(run_dir: Path) -> dict[str, Any]:
    """`summary.json` of a run directory, nothing where there is none, its status alone where it is damaged."""
    try:
        return checked_summary(run_dir)
    except UserError:
        return {"status": "damaged"}


def checked_summary(run_dir: Path) -> dict[str, Any]:
    """`summary.json` of a run directory, nothing where there is none.

    Raises:
        UserError: if it is damaged: what it holds is of the types that a run writes, and of its checksum if it has one.
        OSError: if it cannot be read.
    """
    try:
        content = folder.read(run_dir, SUMMARY, LARGEST_SUMMARY)
    except FileNotFoundError:
        return {}
    found = _json_object(content)
    checksum = None if found is None else found.pop(CHECKSUM, None)
    reason = "a JSON object" if found is None else _wrong_part(found)
    if found is not None and checksum is not None and checksum != _checksum(found):
        reason = reason or "what its checksum says"
    if found is None or reason is not None:
        raise UserError(f"{run_dir / SUMMARY} must hold {reason}; it is damaged, resume the run or move it away")
    return found


def _json_object(content: bytes) -> dict[str, Any] | None:
    """The object of strict JSON, without NaN and Infinity; None for anything else."""
    try:
        found = json.loads(content.decode(), parse_constant=_no_number)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _no_number(name: str) -> NoReturn:
    raise ValueError(name)


def _wrong_part(summary: Mapping[str, Any]) -> str | None:
    """What of a summary would have to be something else; None for a good one."""
    for key, (kind, words) in PARTS.items():
        if key in summary and not isinstance(summary[key], kind):
            return f"{words} as {key}"
    if not all(isinstance(override, str) for override in summary.get("overrides", ())):
        return "text as each of its overrides"
    for name, value in {"seconds": summary.get("seconds", 0), **summary.get("metrics", {})}.items():
        if not is_number(value):
            return f"a finite number as {one_line(name, 80)}"
    return f"values nested at most {DEEPEST} levels deep" if _is_deeper(summary, DEEPEST) else None


def _is_deeper(value: Any, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels == 0 or any(_is_deeper(each, levels - 1) for each in inner)


def is_number(value: Any) -> bool:
    """Whether `value` is a finite number; the bound also keeps out integers that no float can hold."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST_NUMBER


def write_summary(run_dir: Path, summary: Mapping[str, Any], tolerant: bool = False) -> None:
    """Write `summary.json`, with a checksum; with `tolerant` a disk that is full is passed over."""
    whole = {**summary, CHECKSUM: _checksum(summary)}
    try:
        write_text(run_dir / SUMMARY, json.dumps(whole, indent=2, allow_nan=False) + "\n")
    except OSError:
        if not tolerant:  # on a full disk the first error is the one to show
            raise


def _checksum(summary: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(summary, sort_keys=True).encode()).hexdigest()


def record_death(run_dir: Path, overrides: Sequence[str], error: Exception) -> None:
    """Write into `summary.json` how a run failed whose process could not write it any more."""
    summary = {"overrides": list(overrides), **read_summary(run_dir)}
    write_summary(run_dir, {**summary, "status": "failed", "error": one_line(error)}, tolerant=True)


def read_metrics(run_dir: Path) -> list[dict[str, Any]]:
    """The rows of `metrics.jsonl` in a run directory, up to the last whole line; none where there is no such file.

    Raises:
        UserError: if it is damaged.
        OSError: if it cannot be read.
    """
    rows: list[dict[str, Any]] = []
    for number, row in enumerate(metrics_lines(run_dir), 1):
        if row is None:
            raise UserError(f"{run_dir / METRICS} must hold a JSON object in each line, line {number} is damaged")
        rows.append(row)
    return rows


def metrics_lines(run_dir: Path) -> Iterator[dict[str, Any] | None]:
    """What the whole lines of `metrics.jsonl` hold, None for a line that is damaged.

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
            yield _json_object(line) if len(line) <= LARGEST_ROW else None


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
    epochs: dict[int, tuple[float, float, float]] = {}  # number -> (end, mean, steps)
    before = 0
    for row in (row for row in rows if name in row):
        number, steps = math.ceil(row["epoch"]), row["step"] - before
        _, mean, total = epochs.get(number, (0.0, 0.0, 0))
        if steps > 0:
            total += steps
            mean += (row[name] - mean) * (steps / total)  # a sum of large values could exceed what a float holds
        epochs[number] = (row["epoch"], mean, total)
        before = row["step"]
    return [(end, mean) for end, mean, total in epochs.values() if total]


def write_text(path: Path, text: str) -> None:
    """Write a small file so that it is there whole or as it was."""
    folder.write(path.parent, path.name, text.encode())

"""Run directories below the folders that a person names."""

import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from vaelab.errors import UserError
from vaelab.run.rows import METRICS
from vaelab.run.summary import SUMMARY

log = logging.getLogger(__name__)

MOST_FOLDERS = 200_000
DEEPEST_FOLDER = 30


def find_runs(paths: Iterable[Path]) -> list[Path]:
    """The run directories among `paths` and below them, each once, in the order of their numbers.

    Links are not followed; a folder that cannot be looked through is told in the log.

    Raises:
        UserError: for a path that is no folder or has no run in it or below it.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        if not path.is_dir():
            raise UserError(f"{path} is no folder; name directories of runs or sweeps", exit_code=2)
        below = list(_below(path))
        if not below:
            raise UserError(f"{path} holds no run, that is no summary.json in it or below it; name another directory")
        for directory in sorted(below, key=_natural):
            found.setdefault(directory.resolve(), directory)
    return list(found.values())


def jobs_of(sweep_dir: Path) -> list[Path]:
    """The run directories in a sweep's directory, in the order of their numbers; a link to one is none."""
    with os.scandir(sweep_dir) as entries:
        folders = [sweep_dir / entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    jobs = (path for path in folders if any(os.path.lexists(path / name) for name in (SUMMARY, METRICS)))
    return sorted(jobs, key=_natural)


def _below(path: Path) -> Iterator[Path]:
    """The folders with a `summary.json` or a `metrics.jsonl`, whatever that is."""
    depth = len(path.parts)
    for count, (place, folders, files) in enumerate(os.walk(path, onerror=_warn), 1):
        if {SUMMARY, METRICS} & {*files, *folders}:
            yield Path(place)
        if len(Path(place).parts) - depth >= DEEPEST_FOLDER:
            folders.clear()
        if count == MOST_FOLDERS:
            log.warning("%s holds more than %d folders, the others were not looked through", path, MOST_FOLDERS)
            return


def _warn(error: OSError) -> None:
    log.warning("%s cannot be looked through (%s)", error.filename, error.strerror)


def _natural(path: Path) -> list[tuple[bool, int, str]]:
    return [(not part.isdigit(), int(part) if part.isdecimal() else 0, part) for part in path.parts]

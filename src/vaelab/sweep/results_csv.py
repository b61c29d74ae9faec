"""`results.csv` of a sweep."""

import csv
import io
from collections.abc import Sequence
from typing import Any

from vaelab.errors import visible
from vaelab.run.ranking import describe
from vaelab.run.record import RunRecord

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a program of tables takes for one


def results_csv(groups: Sequence[Sequence[RunRecord]], waiting: Sequence[RunRecord]) -> bytes:
    """A row a job, in the order of their numbers; `rank` is the place among those that were measured on the same."""
    ranks = {job.directory: place for group in groups for place, job in enumerate(group, 1) if job.merit is not None}
    jobs = sorted([*(job for group in groups for job in group), *waiting], key=number_of)
    settings = [dict(override.split("=", 1) for override in job.overrides if "=" in override) for job in jobs]
    keys = sorted({key for setting in settings for key in setting})
    metrics = sorted({name for job in jobs for name in job.metrics})
    rows: list[list[Any]] = [
        ["job", "rank", "overrides", *keys, *metrics, "status", "error", "measured_on", "directory"]
    ]
    for job, setting in zip(jobs, settings, strict=True):
        values = [*(setting.get(key, "") for key in keys), *(job.metrics.get(name, "") for name in metrics)]
        begin = [job.directory.name, ranks.get(job.directory, ""), " ".join(job.overrides)]
        rows.append([*begin, *values, job.status, job.error, describe(job.measured_on), job.directory])
    text = io.StringIO(newline="")
    csv.writer(text).writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue().encode()


def _cell(value: object) -> str:
    """A value as a cell that no program takes for a formula and no terminal obeys."""
    text = str(value)
    if text.startswith(FORMULA) and not _is_number(text):
        text = f"'{text}"
    return visible(text)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.strip() == text


def number_of(job: RunRecord) -> int:
    """The number of a job, by which its directory is named; 0 for one of another name."""
    return int(job.directory.name) if job.directory.name.isdecimal() else 0

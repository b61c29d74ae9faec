"""The jobs of a sweep, several in each process of a pool, trained as one where they can be."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

from vaelab.errors import UserError, check_integer
from vaelab.run.record import RunRecord
from vaelab.run.summary import FAILED
from vaelab.sweep.jobs import Job, Outcome, View
from vaelab.sweep.pool import Pool


class Stacks:
    """Runs jobs in a pool, several in each of its processes.

    Args:
        pool: of processes.
        runs: at most so many in each.

    Raises:
        ValueError: if `runs` is out of range.
    """

    def __init__(self, pool: Pool, runs: int) -> None:
        check_integer("runs", runs, 1)
        self._pool = pool
        self._runs = runs

    @property
    def n_jobs(self) -> int:
        """Jobs at a time."""
        return self._pool.n_jobs * self._runs

    def run(self, jobs: Iterable[Job], view: View) -> dict[int, Outcome]:
        """As `Runner`."""
        jobs = list(jobs)
        size = min(self._runs, max(1, ceil(len(jobs) / self._pool.n_jobs)))
        shares = [Share(jobs[first : first + size]) for first in range(0, len(jobs), size)]
        seen = _JobsView(view)
        self._pool.run(shares, seen)
        return seen.outcomes


@dataclass(frozen=True)
class Share:
    """Several jobs as the work of one process.

    Args:
        jobs: each of which has its own directory, and in it what it prints.
    """

    jobs: Sequence[Job]
    going_on = ""

    @property
    def number(self) -> int:
        """That of its first job."""
        return self.jobs[0].number

    @property
    def directory(self) -> Path:
        """That of its first job."""
        return self.jobs[0].directory

    @property
    def call(self) -> Callable[[], dict[int, str]]:
        """Does all; its jobs may change the folder that one is in."""
        return partial(_do, [replace(job, directory=job.directory.absolute()) for job in self.jobs])

    def make_room(self) -> None:
        """Make the directory of each."""
        for job in self.jobs:
            job.make_room()

    def reached(self) -> dict[int, str] | None:
        """That no job failed, if all have ended well."""
        return {} if all(job.reached() is not None for job in self.jobs) else None

    def record(self, outcome: Outcome) -> None:
        """Leave in the directory of each how it failed, where it could not do so itself."""
        for job in self.jobs:
            if RunRecord(job.directory).status != FAILED:
                job.record(self.outcome_of(job, outcome))

    def outcome_of(self, job: Job, outcome: Outcome) -> Outcome:
        """How a job ended, of whose process it is said how that did."""
        record, seconds = RunRecord(job.directory), outcome.seconds
        if record.merit is not None:
            return Outcome(record.merit, None, seconds)
        if isinstance(outcome.value, dict):
            return Outcome(None, UserError(outcome.value.get(job.number, "it has left no metrics")), seconds)
        if record.status == FAILED:
            return Outcome(None, UserError(record.summary.get("error", "")), seconds)
        return Outcome(None, UserError(f"{outcome.error}{job.going_on}"), seconds, outcome.died)


def _do(jobs: Sequence[Job]) -> dict[int, str]:
    from vaelab.sweep.company import do_together  # imports torch, which the sweep's own process does without

    return do_together(jobs)


class _JobsView:
    """Tells the view of a sweep of each job what it is told of its process."""

    def __init__(self, view: View) -> None:
        self.outcomes: dict[int, Outcome] = {}
        self._view = view

    def update(self, running: Mapping[int, Any]) -> None:
        """As `View`."""
        self._view.update({job.number: job for share in running.values() for job in share.jobs})

    def ended(self, share: Any, outcome: Outcome) -> None:
        """As `View`."""
        for job in share.jobs:
            self.outcomes[job.number] = share.outcome_of(job, outcome)
            self._view.ended(job, self.outcomes[job.number])

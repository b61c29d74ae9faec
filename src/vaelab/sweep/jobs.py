"""The jobs of a sweep and how they ended, whatever runs them."""

import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from vaelab.errors import UserError, one_line, resuming
from vaelab.files import folder
from vaelab.run.record import RunRecord
from vaelab.run.saved import CONFIG
from vaelab.run.summary import SUMMARY, record_failure

POLL_SECONDS = 0.2
LARGEST_RESULT = 32_000  # bytes; a pipe holds twice that without a reader


class Work(Protocol):
    """What a process of a pool does: a job, or several.

    Attributes:
        number: by which it is told from others.
        directory: where `output.log` begins.
        call: does it.
        going_on: what to say of it when its process has died.
    """

    number: int
    directory: Path
    call: Callable[..., Any]
    going_on: str

    def make_room(self) -> None:
        """Make the directories that are missing."""

    def reached(self) -> Any:
        """What `call` returns, if it is done already; or None."""

    def record(self, outcome: "Outcome") -> None:
        """Leave in its directory how it failed, where it could not do so itself."""


@dataclass(frozen=True)
class Job:
    """One run of a sweep.

    Args:
        number: of the job in its sweep.
        name: what differs from the other jobs.
        directory: of its run; what it prints goes to `output.log` there.
        overrides: of its command line.
        call: the work, which can be pickled, given perhaps its `company`; returns the run's figure of merit.
        merit: that figure, where the run has ended before and there is no work.
    """

    number: int
    name: str
    directory: Path
    overrides: Sequence[str]
    call: Callable[..., float]
    merit: float | None = None

    @property
    def told(self) -> dict[str, Any]:
        """What a summary tells of the job before it has run."""
        return {"name": self.name, "group": self.directory.parent.name, "overrides": list(self.overrides)}

    @property
    def going_on(self) -> str:
        """`; go on with: COMMAND` for its run; nothing where none has begun."""
        return f"; go on with: {resuming(self.directory)}" if folder.exists(self.directory, CONFIG) else ""

    def make_room(self) -> None:
        """Make its directory, where that is missing."""
        directory = self.directory.absolute()
        directory.parent.mkdir(parents=True, exist_ok=True)
        folder.make(directory.parent, directory.name)

    def reached(self) -> float | None:
        """The figure of merit of its run, if that has ended well."""
        return RunRecord(self.directory).merit

    def record(self, outcome: "Outcome") -> None:
        """Leave in its directory how it failed, where it could not do so itself."""
        if outcome.error is not None and (outcome.died or not folder.exists(self.directory, SUMMARY)):
            record_failure(self.directory, self.told, outcome.error)


@dataclass(frozen=True)
class Outcome:
    """The end of a job: with a value, or with an error.

    Args:
        value: what it returned; of several jobs, what those that failed say by their numbers.
        error: what it raised, or a UserError that says how its process died.
        seconds: from the start of its last attempt.
        died: whether its process died or ran out of time, so that another attempt may do better.
    """

    value: Any
    error: Exception | None
    seconds: float
    died: bool = False


class View(Protocol):
    """Follows the jobs of a sweep."""

    def update(self, running: Mapping[int, Job]) -> None:
        """Called a few times a second."""

    def ended(self, job: Job, outcome: Outcome) -> None:
        """Called as each job ends."""


class Runner(Protocol):
    """Runs jobs in processes of their own."""

    @property
    def n_jobs(self) -> int | None:
        """Jobs at a time; None where that is not known."""

    def run(self, jobs: Iterable[Job], view: View) -> dict[int, Outcome]:
        """Run all jobs and return how each ended, by its number.

        Args:
            jobs: composed one by one, as they are asked for.
            view: told of what happens.

        Raises:
            Interrupted: or KeyboardInterrupt, when this process is asked to stop and all jobs have stopped too.
        """


def portable(error: Exception) -> Exception:
    """The error itself where it can travel to another process, else its words."""
    try:
        content = pickle.dumps(error)
        pickle.loads(content)
    except Exception:
        content = b""
    if content and len(content) < LARGEST_RESULT:
        return error
    return UserError(one_line(f"{type(error).__name__}: {error}", 2000))

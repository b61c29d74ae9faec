"""Jobs side by side, each in a process of its own: one that is killed, exits or hangs takes no other with it."""

from collections.abc import Iterable
from itertools import count
from multiprocessing.connection import wait

from vaelab.sweep import fork_server
from vaelab.sweep.attempt import Attempt, Limits, stop_all
from vaelab.sweep.jobs import POLL_SECONDS, Outcome, View, Work
from vaelab.sweep.places import Places


class Pool:
    """Runs jobs on this machine, one in each place at a time.

    Args:
        places: for the jobs.
        limits: of the attempts at each job.
    """

    def __init__(self, places: Places, limits: Limits) -> None:
        self._places = places
        self._limits = limits
        fork_server.start()  # it imports what the jobs need while they are composed

    @property
    def n_jobs(self) -> int:
        """Jobs at a time."""
        return len(self._places)

    def run(self, jobs: Iterable[Work], view: View) -> dict[int, Outcome]:
        """Run all jobs and return how each ended, by its number.

        Args:
            jobs: composed one by one, each shortly before it is needed.
            view: told of what happens.

        Raises:
            Interrupted: or KeyboardInterrupt, when this process is asked to stop and all jobs have stopped too.
        """
        outcomes: dict[int, Outcome] = {}
        running: dict[int, Attempt] = {}  # by place
        waiting = iter(jobs)
        upcoming = next(waiting, None)
        try:
            while upcoming is not None or running:
                while upcoming is not None and len(running) < self.n_jobs:
                    place = next(place for place in count() if place not in running)
                    running[place] = self._attempt(upcoming, place)
                    upcoming = next(waiting, None)  # composed before a process waits for it
                wait([attempt.sentinel for attempt in running.values()], POLL_SECONDS)
                view.update({attempt.job.number: attempt.job for attempt in running.values()})
                for job, outcome in self._ended(running):
                    outcomes[job.number] = outcome
                    view.ended(job, outcome)
        finally:
            stop_all(self._limits.grace_seconds)
        return outcomes

    def _attempt(self, job: Work, place: int, number: int = 0) -> Attempt:
        return Attempt(job, self._limits, self._places.environment(place), number)

    def _ended(self, running: dict[int, Attempt]) -> Iterable[tuple[Work, Outcome]]:
        """Take away the attempts that have ended, or put another in their place; the jobs that were the last for."""
        for place, attempt in list(running.items()):
            attempt.enforce_limits()
            if attempt.is_alive():
                continue
            outcome = attempt.outcome()
            if outcome.died and attempt.number < self._limits.retries:
                running[place] = self._attempt(attempt.job, place, attempt.number + 1)
                continue
            del running[place]
            attempt.job.record(outcome)
            yield attempt.job, outcome

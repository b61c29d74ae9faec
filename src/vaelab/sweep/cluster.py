"""Jobs on a Ray cluster: each a task in a worker of its own, started again elsewhere when its machine dies."""

import logging
import math
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from vaelab.errors import UserError, one_line
from vaelab.sweep.jobs import POLL_SECONDS, Job, Outcome, View, portable
from vaelab.training.signals import Interrupted

try:
    import ray
except ImportError as missing:
    raise UserError(
        "hydra/launcher=ray needs a package that is not installed; run: pip install 'vaelab[ray]'"
    ) from missing


class Cluster:
    """Runs jobs on a cluster whose machines all see the folders of the runs.

    Args:
        address: of a running cluster, `auto` to look for one here, or None to start one.
        resources: of a job: `num_cpus`, `num_gpus`, and `max_retries` after the death of its process or machine.
        grace_seconds: for the jobs to write a checkpoint.
    """

    n_jobs = None

    def __init__(self, address: str | None, resources: Mapping[str, Any], grace_seconds: float) -> None:
        self._address = address
        self._resources = resources
        self._grace_seconds = grace_seconds

    def run(self, jobs: Iterable[Job], view: View) -> dict[int, Outcome]:
        """Run all jobs and return how each ended, by its number.

        Args:
            jobs: all composed before the first begins.
            view: told of what happens.

        Raises:
            UserError: if there is no such cluster.
            KeyboardInterrupt: or Interrupted, when this process is asked to stop; the jobs then stop at a checkpoint.
        """
        jobs = list(jobs)
        outcomes: dict[int, Outcome] = {}
        with _joined(self._address):
            task = ray.remote(**self._resources)(_attempt)
            pending = {task.remote(job.call): job for job in jobs}
            try:
                while pending:
                    ended, _ = ray.wait(list(pending), timeout=POLL_SECONDS)
                    view.update({job.number: job for job in pending.values() if job.directory.exists()})
                    for reference in ended:
                        job = pending.pop(reference)
                        outcomes[job.number] = outcome = _outcome(reference, job)
                        view.ended(job, outcome)
            finally:
                for reference in pending:
                    ray.cancel(reference)
                if pending:
                    ray.wait(list(pending), num_returns=len(pending), timeout=self._grace_seconds)
        return outcomes


@contextmanager
def _joined(address: str | None) -> Iterator[None]:
    """Connected with a cluster, unless this process is already."""
    if ray.is_initialized():
        yield
        return
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UserError(
            f"no Ray cluster answers at hydra.launcher.address={address} ({one_line(error, 200)}); start one with: "
            f"ray start --head, or set it to null for one on this machine"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _attempt(call: Callable[[], float]) -> Outcome:
    started = time.monotonic()
    try:
        return Outcome(call(), None, time.monotonic() - started)
    except Exception as error:
        return Outcome(None, portable(error), time.monotonic() - started)
    except Interrupted as error:
        if error.signum == signal.SIGTERM:
            os._exit(1)  # the checkpoint is written, and Ray starts again what has died, not what has raised
        raise


def _outcome(reference: Any, job: Job) -> Outcome:
    try:
        return ray.get(reference)
    except ray.exceptions.RayError as error:  # the process or its machine died, and no retry was left
        death = UserError(f"the job's process died ({type(error).__name__}){job.going_on}")
        outcome = Outcome(None, death, math.nan, died=True)
        job.record(outcome)
        return outcome

"""An attempt at a job: one process, seen from outside."""

import multiprocessing
import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess

from vaelab.errors import UserError, check_integer, check_number
from vaelab.sweep import fork_server
from vaelab.sweep.jobs import POLL_SECONDS, Outcome, Work
from vaelab.sweep.worker import work

LOST = 255  # multiprocessing's exit code of a process whose fork server has died


@dataclass(frozen=True)
class Limits:
    """Bounds on the attempts at a job.

    Args:
        timeout_min: minutes after which an attempt is stopped, or None.
        retries: how often a job is started again whose process died or ran out of time.
        grace_seconds: from asking a job to stop, at which it writes a checkpoint, to killing it.

    Raises:
        ValueError: if one is out of range.
    """

    timeout_min: float | None
    retries: int
    grace_seconds: float

    def __post_init__(self) -> None:
        check_integer("retries", self.retries, 0)
        check_number("grace_seconds", self.grace_seconds, 0)
        if self.timeout_min is not None:
            check_number("timeout_min", self.timeout_min, 0, above=True)


class Attempt:
    """Starts a process for a job; its pipe is its own, no lock or queue that a killed process could leave broken.

    Args:
        job: what it works at.
        limits: of its time.
        environment: of its process, OMP_NUM_THREADS in it.
        number: how many there were before.
    """

    def __init__(self, job: Work, limits: Limits, environment: Mapping[str, str], number: int = 0) -> None:
        self.job = job
        self.number = number
        self._limits = limits
        directory = job.directory.absolute()
        job.make_room()
        context = fork_server.start()  # again, if it has died
        self._result, sender = context.Pipe(duplex=False)
        arguments = (sender, job.call, environment, directory)
        self._process: ForkServerProcess = context.Process(target=work, args=arguments, name=f"job {job.number}")
        self._process.start()
        sender.close()
        self._started = time.monotonic()
        self._stopped_at: float | None = None  # when it was asked to stop

    @property
    def sentinel(self) -> int:
        """Ready when the process has ended."""
        return self._process.sentinel

    def enforce_limits(self) -> None:
        """Ask a process to stop that has run too long; kill one that was asked and does not."""
        now = time.monotonic()
        timeout_min = self._limits.timeout_min
        if self._stopped_at is None and timeout_min is not None and now - self._started > 60 * timeout_min:
            self._stopped_at = now
            self._process.terminate()
        if self._stopped_at is not None and now - self._stopped_at > self._limits.grace_seconds:
            self._process.kill()

    def is_alive(self) -> bool:
        """Whether the process has not ended."""
        return self._process.is_alive()

    def outcome(self) -> Outcome:
        """The end of the job; asked for once, when its process has ended."""
        value, error = self._received()
        self._process.join()
        exit_code = self._process.exitcode
        if exit_code == LOST:
            _end_lost(self._process, self._limits.grace_seconds)
        self._process.close()
        if value is None and error is None:
            value = self.job.reached()  # it may have died after its work was done
        died = value is None and (error is None or self._stopped_at is not None)
        if died:
            how = f"the job's process {_manner_of_death(exit_code)}"
            if self._stopped_at is not None:
                how = f"the job ran longer than hydra.launcher.timeout_min={self._limits.timeout_min:g}"
            error = UserError(f"{how}{self.job.going_on}")
        return Outcome(value, error, time.monotonic() - self._started, died)

    def _received(self) -> tuple[float | None, Exception | None]:
        value, error = None, None
        # the process may have died before it sent anything, or while it did, or have sent what only it can import
        with suppress(Exception):
            if self._result.poll():
                value, error = self._result.recv()
        self._result.close()
        return value, error


def stop_all(grace_seconds: float) -> None:
    """Ask the jobs that still run to stop at a checkpoint, and wait for it; kill them on a second Ctrl-C."""
    processes = multiprocessing.active_children()
    deadline = time.monotonic() + grace_seconds
    try:
        for process in processes:
            process.terminate()
        for process in processes:
            process.join(max(0.0, deadline - time.monotonic()))
    finally:
        for process in processes:
            process.kill()
            process.join()


def _end_lost(process: ForkServerProcess, grace_seconds: float) -> None:
    """End a job whose fork server has died, and which therefore nobody can wait for."""
    assert process.pid is not None
    with suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + grace_seconds
        while time.monotonic() < deadline:
            os.kill(process.pid, 0)  # raises when it has ended
            time.sleep(POLL_SECONDS)
        os.kill(process.pid, signal.SIGKILL)


def _manner_of_death(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        name = signal.Signals(-exit_code).name
        return f"was killed by {name}" + (", perhaps for want of memory" if exit_code == -signal.SIGKILL else "")
    return f"ended with exit code {exit_code} before the job did"

"""Jobs side by side, each in a process of its own: one that is killed, exits or hangs takes no other with it.

A fork server imports what all jobs need once, so that a job starts in a fraction of a second. Every job has a pipe of
its own for its result: no lock or queue is shared that a killed process could leave broken.
"""

import multiprocessing
import multiprocessing.forkserver
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from vaelab.errors import UserError, check_integer, check_number, one_line, resuming
from vaelab.files import folder
from vaelab.run.record import RunRecord
from vaelab.run.summary import SUMMARY, record_failure
from vaelab.sweep.gpus import gpus_are_possible, visible_gpus
from vaelab.training.signals import Interrupted

POLL_SECONDS = 0.2
PRELOADED = "vaelab.cli.preload"
LOST = 255  # multiprocessing's exit code of a process whose fork server has died
LARGEST_RESULT = 32_000  # bytes; a pipe holds twice that without a reader


@dataclass(frozen=True)
class Job:
    """What one process does.

    Args:
        number: of the job in its sweep.
        name: what differs from the other jobs.
        directory: of its run; what it prints goes to `output.log` there.
        overrides: of its command line.
        call: the work, which can be pickled; returns the run's figure of merit.
    """

    number: int
    name: str
    directory: Path
    overrides: Sequence[str]
    call: Callable[[], float]


@dataclass(frozen=True)
class Outcome:
    """How a job ended: with a value, or with an error.

    Args:
        value: what it returned.
        error: what it raised, or a UserError that says how its process died.
        seconds: from the start of its last attempt.
    """

    value: float | None
    error: Exception | None
    seconds: float


class View(Protocol):
    """What follows a pool."""

    def update(self, running: Mapping[int, Job]) -> None:
        """Called a few times a second."""

    def ended(self, job: Job, outcome: Outcome) -> None:
        """Called as each job ends."""


@dataclass
class _Attempt:
    job: Job
    slot: int
    number: int
    process: ForkServerProcess
    result: Connection
    started: float = field(default_factory=time.monotonic)
    asked_to_stop: float | None = None

    def ask_to_stop(self) -> None:
        if self.asked_to_stop is None:
            self.asked_to_stop = time.monotonic()
            self.process.terminate()


class Pool:
    """Runs jobs, so many at a time.

    Args:
        n_jobs: at a time; None for as many as there are places on GPUs, or cores where torch has no GPU.
        jobs_per_gpu: jobs that share a GPU; 0 hides the GPUs from all jobs.
        timeout_min: minutes after which an attempt at a job is stopped, or None.
        retries: how often a job is started again whose process died or ran out of time.
        grace_seconds: from asking a job to stop, at which it writes a checkpoint, to killing it.

    Raises:
        ValueError: if a setting is out of range.
    """

    def __init__(
        self, n_jobs: int | None, jobs_per_gpu: int, timeout_min: float | None, retries: int, grace_seconds: float
    ) -> None:
        check_integer("jobs_per_gpu", jobs_per_gpu, 0)
        check_integer("retries", retries, 0)
        check_number("grace_seconds", grace_seconds, 0)
        if n_jobs is not None:
            check_integer("n_jobs", n_jobs, 1)
        if timeout_min is not None:
            check_number("timeout_min", timeout_min, 0, above=True)
        self._n_jobs = n_jobs
        self._jobs_per_gpu = jobs_per_gpu
        self._timeout_min = timeout_min
        self._retries = retries
        self._grace_seconds = grace_seconds

    @cached_property
    def places(self) -> list[str]:
        """What CUDA_VISIBLE_DEVICES is for each job at a time; first asked for when the fork server is up.

        Raises:
            UserError: if there are fewer places on GPUs than jobs at a time.
        """
        per_gpu = self._jobs_per_gpu
        gpus = visible_gpus(self.start()) if per_gpu and gpus_are_possible() else []
        places = gpus * per_gpu  # each GPU gets a job before one gets a second
        if not places:
            # without a GPU of its own no job may see one, for all would take the first
            return [""] * (self._n_jobs or _cores())
        if self._n_jobs is not None and self._n_jobs > len(places):
            raise UserError(
                f"hydra.launcher.n_jobs must be at most {len(places)}, jobs_per_gpu={per_gpu} times the GPUs, got "
                f"{self._n_jobs}; raise jobs_per_gpu, or set it to 0 for jobs without a GPU"
            )
        return places[: self._n_jobs]

    @property
    def n_jobs(self) -> int:
        """Jobs at a time."""
        return len(self.places)

    @property
    def threads(self) -> int:
        """Of each job, so that all share the cores."""
        return max(1, _cores() // self.n_jobs)

    def start(self) -> multiprocessing.context.ForkServerContext:
        """Start the fork server, which imports while the caller goes on."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([PRELOADED])
        with _threads_in_environment(1):  # jobs set their own number, which is not known before GPUs are counted
            multiprocessing.forkserver.ensure_running()
        return context

    def run(self, jobs: Iterable[Job], view: View) -> list[Outcome]:
        """Run all jobs and return how each ended, in their order.

        Args:
            jobs: made one by one, each shortly before it is needed.
            view: told of what happens.

        Raises:
            Interrupted: or KeyboardInterrupt, when this process is asked to stop and all jobs have stopped too.
        """
        context = self.start()
        outcomes: dict[int, Outcome] = {}
        running: dict[int, _Attempt] = {}
        order: list[int] = []
        source = iter(jobs)
        upcoming = next(source, None)
        try:
            while upcoming is not None or running:
                for slot in self._free(running):
                    if upcoming is None:
                        break
                    order.append(upcoming.number)
                    running[slot] = self._start(context, upcoming, slot, number=0)
                    upcoming = next(source, None)  # ready before a process waits for it
                wait([attempt.process.sentinel for attempt in running.values()], POLL_SECONDS)
                view.update({attempt.job.number: attempt.job for attempt in running.values()})
                for attempt in list(running.values()):
                    self._enforce_limits(attempt)
                    if attempt.process.is_alive():
                        continue
                    del running[attempt.slot]
                    outcome, died = self._outcome(attempt)
                    if died and attempt.number < self._retries:
                        running[attempt.slot] = self._start(context, attempt.job, attempt.slot, attempt.number + 1)
                    else:
                        job = attempt.job
                        if outcome.error is not None and (died or not folder.exists(job.directory, SUMMARY)):
                            record_failure(job.directory, {"overrides": list(job.overrides)}, outcome.error)
                        outcomes[attempt.job.number] = outcome
                        view.ended(attempt.job, outcome)
        finally:
            self._stop()
        return [outcomes[number] for number in order]

    def _free(self, running: Mapping[int, Any]) -> Iterator[int]:
        return (slot for slot in range(self.n_jobs) if slot not in running)

    def _start(self, context: multiprocessing.context.ForkServerContext, job: Job, slot: int, number: int) -> _Attempt:
        directory = job.directory.absolute()
        directory.parent.mkdir(parents=True, exist_ok=True)
        folder.make(directory.parent, directory.name)
        result, sender = context.Pipe(duplex=False)
        with _threads_in_environment(self.threads):  # a fork server that has died is started again here
            environment = {**os.environ, "CUDA_VISIBLE_DEVICES": self.places[slot]}
            arguments = (sender, job.call, environment, directory)
            process = context.Process(target=_work, args=arguments, name=f"job {job.number}")
            process.start()
        sender.close()
        return _Attempt(job, slot, number, process, result)

    def _enforce_limits(self, attempt: _Attempt) -> None:
        now = time.monotonic()
        if self._timeout_min is not None and now - attempt.started > 60 * self._timeout_min:
            attempt.ask_to_stop()
        if attempt.asked_to_stop is not None and now - attempt.asked_to_stop > self._grace_seconds:
            attempt.process.kill()

    def _outcome(self, attempt: _Attempt) -> tuple[Outcome, bool]:
        """How an attempt ended whose process has, and whether that was the process's death."""
        value, error = None, None
        # the process may have died before it sent anything, or while it did, or have sent what only it can import
        with suppress(Exception):
            if attempt.result.poll():
                value, error = attempt.result.recv()
        attempt.result.close()
        attempt.process.join()
        exit_code = attempt.process.exitcode
        if exit_code == LOST:
            self._end_lost(attempt.process)
        attempt.process.close()
        if value is None and error is None:
            value = RunRecord(attempt.job.directory).merit  # it may have died after its work was done
        died = value is None and error is None
        hint = f"go on with: {resuming(attempt.job.directory)}"
        if attempt.asked_to_stop is not None and value is None:
            died = True
            error = UserError(f"the job ran longer than hydra.launcher.timeout_min={self._timeout_min:g}; {hint}")
        elif died:
            error = UserError(f"the job's process {_manner_of_death(exit_code)}; {hint}")
        return Outcome(value, error, time.monotonic() - attempt.started), died

    def _end_lost(self, process: ForkServerProcess) -> None:
        """End a job whose fork server has died, and which therefore nobody can wait for."""
        assert process.pid is not None
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)
            deadline = time.monotonic() + self._grace_seconds
            while time.monotonic() < deadline:
                os.kill(process.pid, 0)  # raises when it has ended
                time.sleep(POLL_SECONDS)
            os.kill(process.pid, signal.SIGKILL)

    def _stop(self) -> None:
        """Ask what still runs to stop at a checkpoint, and wait for it; kill it on a second Ctrl-C."""
        processes = multiprocessing.active_children()
        deadline = time.monotonic() + self._grace_seconds
        try:
            for process in processes:
                process.terminate()
            for process in processes:
                process.join(max(0.0, deadline - time.monotonic()))
        finally:
            for process in processes:
                process.kill()
                process.join()


@contextmanager
def _threads_in_environment(threads: int) -> Iterator[None]:
    """For a fork server that is started inside: torch reads the number as it is imported."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = before or str(threads)
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _work(result: Connection, call: Callable[[], float], environment: Mapping[str, str], directory: Path) -> None:
    """What a job's process does from its first line to its last."""
    os.environ.clear()  # a fork server's is that of its own start
    os.environ.update(environment)
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, _interrupt)
    threads = environment["OMP_NUM_THREADS"]
    if "torch" in sys.modules and threads.isdecimal():
        sys.modules["torch"].set_num_threads(int(threads))  # the fork server may be one of an earlier pool
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        _redirect(directory)
        answer: tuple[float | None, Exception | None] = (call(), None)
    except Exception as error:
        answer = (None, portable(error))
    result.send(answer)
    result.close()
    sys.stdout.flush()


def _redirect(directory: Path) -> None:
    """What the job prints goes to `output.log` in its directory."""
    with folder.append(directory, "output.log") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise Interrupted(signum)


def _end_with_parent() -> None:
    """Stop at a checkpoint when the sweep's own process has died, for the sweep may be started again."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)


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


def _manner_of_death(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        name = signal.Signals(-exit_code).name
        return f"was killed by {name}" + (", perhaps for want of memory" if exit_code == -signal.SIGKILL else "")
    return f"ended with exit code {exit_code} before the job did"

"""A row in a process of its own, which waits on a pipe and takes a turn when it is told to."""

import contextlib
import multiprocessing
import os
import resource
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Generator
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.job import Job, MistakeError, UnavailableError

WARM_UP_STEPS = 5  # allocations and compilation; their time says nothing


class DoneError(BaseException):
    """Leaves the training loop of whichever library is running."""


class Turns:
    """Counts the steps of a row, and at the end of each turn hands control back to the harness."""

    def __init__(self, pipe: Connection, job: Job, steps: int | None) -> None:
        self.pipe = pipe
        self.job = job
        self.steps = steps
        self.plan = self._plan()
        self._begin(next(self.plan))

    def after_step(self, images: int) -> None:
        self.images += images
        self.left -= 1
        if self.left == 0:
            synchronize(self.job.device)
            self._begin(self.plan.send(time.perf_counter() - self.began))

    def _begin(self, steps: int) -> None:
        self.left, self.images = steps, 0
        self.began = time.perf_counter()

    def _plan(self) -> Generator[int, float, None]:
        """Yields how many steps to take next, and is sent the seconds that they took."""
        yield WARM_UP_STEPS
        count, seconds = WARM_UP_STEPS, (yield WARM_UP_STEPS)
        count = max(1, round(count / seconds * self.job.seconds / 2))
        seconds = yield count
        steps = self.steps or max(1, round(count / seconds * self.job.seconds))
        self.pipe.send({"ready": True})
        while self.pipe.recv() == "go":
            seconds = yield steps
            self.pipe.send({"seconds": seconds, "images": self.images, "peak_mb": peak_mb(self.job.device)})
        raise DoneError


def synchronize(device: str) -> None:
    """Wait for what the GPU has still to do."""
    if device == "cuda":
        import torch

        torch.cuda.synchronize()


def peak_mb(device: str) -> float:
    """Largest memory so far, 10^6 bytes: of the GPU's tensors, or the resident set of this process."""
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated() / 1e6
    unit = 1 if sys.platform == "darwin" else 1024  # bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def take_turns(pipe: Connection, job: Job, steps: int | None) -> None:
    """Train endlessly, `steps` steps a turn, or as many as take job.seconds."""
    from benchmarks.rows import make_row

    with contextlib.suppress(DoneError, EOFError):
        make_row(job).train(Turns(pipe, job, steps).after_step)


def call(pipe: Connection, job: Job, function: Callable[..., Any], *arguments: Any) -> None:
    """Send what the function returns."""
    pipe.send({"result": function(job, *arguments)})


def _process(target: Callable[..., None], pipe: Connection, job: Job, log: str, arguments: tuple[Any, ...]) -> None:
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)  # libraries talk; the table is printed by the harness
    os.dup2(output, 2)
    try:
        target(pipe, job, *arguments)
    except UnavailableError as error:
        pipe.send({"unavailable": str(error)})
    except BaseException as error:
        traceback.print_exc()
        text = " ".join(str(error).split()) or type(error).__name__
        with contextlib.suppress(OSError):
            pipe.send({"error": text})


class Worker:
    """A process with a pipe to it; leaves nothing behind when it is closed.

    Args:
        target: what it runs: `take_turns` or `call`.
        job: its first argument after the pipe; the worker makes the folder.
        arguments: the further ones.
    """

    def __init__(self, target: Callable[..., None], job: Job, *arguments: Any) -> None:
        self.name = f"{job.row} of {job.column.name}"
        self._folder = tempfile.TemporaryDirectory(prefix="benchmark-", ignore_cleanup_errors=True)
        self._began = time.perf_counter()
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        job = replace(job, folder=self._folder.name)
        self._log = Path(self._folder.name) / "output"
        self._process = context.Process(
            target=_process, args=(target, theirs, job, str(self._log), arguments), daemon=True
        )
        self._process.start()
        theirs.close()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(OSError):
            self._pipe.send("stop")
        self._pipe.close()
        self._process.join(timeout=5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._folder.cleanup()

    def answer(self) -> dict[str, Any]:
        """Wait for what the process says next; MistakeError if it failed, UnavailableError if it cannot run here."""
        try:
            said = self._pipe.recv()
        except EOFError:
            last = self._log.read_text(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
            raise MistakeError(f"the process of {self.name} ended by itself: {last[0]}") from None
        if "unavailable" in said:
            raise UnavailableError(said["unavailable"])
        if "error" in said:
            raise MistakeError(f"{self.name} failed: {said['error']}")
        return said

    def set_up(self) -> float:
        """Wait until it is warm; seconds since it was started."""
        self.answer()
        return time.perf_counter() - self._began

    def turn(self) -> dict[str, Any]:
        """Let it take a turn: `seconds`, `images`, `peak_mb`."""
        with contextlib.suppress(BrokenPipeError):  # why it is broken is in the answer
            self._pipe.send("go")
        return self.answer()

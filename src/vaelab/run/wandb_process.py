"""The training's end of the process that brings a run to W&B: starts it, passes on what it says, ends it in time."""

import atexit
import logging
import multiprocessing
import sys
import threading
import time
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import psutil

from vaelab.errors import resuming
from vaelab.run.wandb_files import sync_command
from vaelab.run.wandb_run import WandbSettings
from vaelab.run.wandb_worker import bring

log = logging.getLogger(__name__)

MOST_WARNINGS = 5  # of W&B's own that are passed on
# a fork starts at once, with all that is imported; elsewhere than on Linux it is not safe
START = "fork" if sys.platform == "linux" else "spawn"
PATIENCE = 2.0  # seconds of waiting after which a person is told of it
# parts of the time to finish: for W&B's program to answer, for it to upload, and until its process is killed
ALIVE, UPLOADING, ENDING = 0.6, 0.25, 0.85


class WandbProcess:
    """A process that brings the rows of a run directory to W&B.

    Args:
        run_dir: absolute; its folder `wandb` is there.
        settings: of the W&B run.
        finish_timeout: seconds after the end of the run in which all of it is over, come what may.

    Attributes:
        unreachable: whether the server did not answer, so that other runs need not try.
    """

    def __init__(self, run_dir: Path, settings: WandbSettings, finish_timeout: float) -> None:
        self.unreachable = False
        self._run_dir = run_dir
        # what a launch that went on with the run has uploaded `wandb sync` would upload again
        self._remedy = (resuming if settings.resumed else sync_command)(run_dir)
        self._settings = replace(settings, upload_seconds=UPLOADING * finish_timeout)
        self._finish_timeout = finish_timeout
        self._heard: set[str] = set()
        self._lines: SimpleQueue[tuple[int, str]] = SimpleQueue()  # with their levels, for the log
        self._alive = threading.Event()  # worth waiting for
        self._warnings = 0
        if settings.mode == "offline":
            self._alive.set()
        context = multiprocessing.get_context(START)
        orders, self._orders = context.Pipe(duplex=False)
        self._reports, reports = context.Pipe(duplex=False)
        self._process = context.Process(target=bring, args=(run_dir, self._settings, orders, reports), daemon=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads; this one takes no lock
            self._process.start()
        atexit.register(self._kill)  # before multiprocessing waits for it
        orders.close()
        reports.close()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def say(self) -> None:
        """Log what was heard; not as it comes, for in one process several runs can have logs of their own."""
        while not self._lines.empty():
            log.log(*self._lines.get())

    def finish(self, status: str, summary: Mapping[str, Any]) -> None:
        """Have the rest brought and the W&B run closed; one line where that was not done in time.

        A process that hangs is killed, and the rows that W&B's files then lack are written to an offline one.
        """
        deadline = time.monotonic() + self._finish_timeout
        if not self._end(status, summary, ALIVE * self._finish_timeout, ENDING * self._finish_timeout):
            self.unreachable = self.unreachable or ("contacted" in self._heard and "started" not in self._heard)
            left = deadline - time.monotonic()
            settings = replace(self._settings, mode="offline", resumed=True, is_rest=True)
            rest = WandbProcess(self._run_dir, settings, left)
            complete = rest._end(status, summary, left, left)
            rest.say()
            self._tell(self._remedy if complete else resuming(self._run_dir))
        self.say()

    def _end(self, status: str, summary: Mapping[str, Any], alive_seconds: float, seconds: float) -> bool:
        """Tell the process that the run has ended, wait, and end it; whether it has done all that it could."""
        started = time.monotonic()
        with suppress(OSError):  # it may have died
            self._orders.send((status, dict(summary)))
        self._listener.join(PATIENCE)
        if self._listener.is_alive() and not self._settings.is_rest:
            log.info("W&B has up to %.0f s for what it has not taken yet", self._finish_timeout)
        if self._alive.wait(started + alive_seconds - time.monotonic()):
            self._listener.join(started + seconds - time.monotonic())
        done = "done" in self._heard
        if not done:
            self._kill()
        self._process.join(1.0)  # it has nothing left to do
        atexit.unregister(self._kill)
        return done

    def _kill(self) -> None:
        """End the process and those that it started, stopped ones too."""
        with suppress(psutil.Error):
            process = psutil.Process(self._process.pid)
            for found in (process, *process.children(recursive=True)):  # itself first: it would report their deaths
                with suppress(psutil.Error):
                    found.kill()

    def _listen(self) -> None:
        with suppress(EOFError, OSError):
            while "done" not in self._heard:
                self._hear(*self._reports.recv())
        self._alive.set()

    def _hear(self, kind: str, text: str) -> None:
        self._heard.add(kind)
        if kind in ("offline", "alive"):  # offline there is no server that it could hang at
            self._alive.set()
        if kind == "unreachable":
            self.unreachable = True
        if self._settings.is_rest:
            self._lines.put((logging.DEBUG, f"{kind} {text}"))
        elif kind == "undelivered":
            self._tell(self._remedy)
        elif kind == "info":
            self._lines.put((logging.INFO, text))
        elif text and self._warnings < MOST_WARNINGS:
            self._warnings += 1
            self._lines.put((logging.WARNING, text))

    def _tell(self, command: str) -> None:
        """Say once that W&B lacks rows."""
        if "told" not in self._heard:
            self._heard.add("told")
            said = f"W&B has not taken all rows and pictures; bring those that it lacks with: {command}"
            self._lines.put((logging.WARNING, said))

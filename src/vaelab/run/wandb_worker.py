"""The process that brings a run to W&B, from its first line to its last."""

import gc
import logging
import multiprocessing
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock

from vaelab.errors import one_line
from vaelab.run.wandb_account import folder_of_settings
from vaelab.run.wandb_files import remove_links
from vaelab.run.wandb_run import NotWantedError, Say, WandbRun, WandbSettings

POLL_SECONDS = 0.25
EXIT_CODES = {"finished": 0, "pruned": 0, "failed": 1, "killed": 130}
LOST = 137  # what a shell gives for a process that was killed with -9
UNDELIVERED = ("Fatal error while uploading", "Timed out finishing")  # how W&B says that its server lacks rows
END_OF_WARNINGS = "vaelab: no more of W&B's"


def bring(run_dir: Path, settings: WandbSettings, orders: Connection, reports: Connection) -> None:
    """Bring rows until told how the run has ended; the process ends with it.

    Args:
        run_dir: absolute.
        settings: of the W&B run.
        orders: from the training: (status, summary) at the end. Where it is closed without, the training has died.
        reports: to the training: (kind, text). `offline`, `contacted`, `started`, `alive`, `done` and `failed` tell
            where this is, `unreachable` and `undelivered` what the server does; `info` and `warning` are for people.
    """
    _part_from_training(orders, reports)
    threading.Thread(target=_outlive_training, args=(2 * settings.upload_seconds,), daemon=True).start()
    speech = threading.Lock()

    def say(kind: str, text: str = "") -> None:
        with speech, suppress(OSError):  # the training may have died
            reports.send((kind, text))

    all_forwarded = _forward_warnings(say)
    try:
        remove_links(run_dir)
        with FileLock(run_dir / "wandb" / ".lock"):  # the process of an earlier launch may still be uploading
            run = WandbRun(run_dir, settings, say)
            run.begin()
            say("started")
            while not orders.poll(POLL_SECONDS):
                run.bring()
            with suppress(TimeoutError):  # of which W&B warns too
                run.finish(*_end_of_run(orders))
        all_forwarded()
        say("done")
    except NotWantedError:
        say("done")
    except BaseException as error:
        reason = one_line(f"{type(error).__name__}: {error}", 300)
        say("failed", f"W&B failed ({reason}); the run goes on without it")
    reports.close()
    os._exit(0)  # W&B's threads may wait for ever; its own program ends with its parent


def _end_of_run(orders: Connection) -> tuple[int, Mapping[str, Any]]:
    """The exit code and the summary of a run that has ended, or died."""
    try:
        status, summary = orders.recv()
    except EOFError:
        return LOST, {}
    return EXIT_CODES[status], {**summary, "status": status}


def _part_from_training(orders: Connection, reports: Connection) -> None:
    """Keep nothing of the process that this one is a copy of: no file, no signal, no log, no folder."""
    os.setsid()
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(signum, signal.SIG_IGN)  # a scheduler asks all processes of a job; the training says when to end
    parent = multiprocessing.parent_process()
    assert parent is not None
    gc.freeze()  # what the training has thrown away would, collected here, close descriptors that are others' by then
    kept = sorted((2, orders.fileno(), reports.fileno(), parent.sentinel))
    for before, after in zip(kept, [*kept[1:], os.sysconf("SC_OPEN_MAX")], strict=True):
        os.closerange(before + 1, after)
    for logger in (logging.getLogger(), logging.getLogger("vaelab")):
        logger.handlers.clear()
    os.chdir(folder_of_settings())


def _outlive_training(seconds: float) -> None:
    """End this process, and W&B's own, so many seconds after the training's, whatever they wait for."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    time.sleep(seconds)
    for found in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            found.kill()
    os._exit(1)


def _forward_warnings(say: Say) -> Callable[[], None]:
    """Make standard output and error this process's own, and pass on what W&B warns of there.

    Returns:
        What waits until all that was written up to then is passed on.
    """
    reading, writing = os.pipe()
    os.dup2(writing, 1)
    os.dup2(writing, 2)
    os.close(writing)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)

    def forward() -> None:
        with os.fdopen(reading, errors="replace") as lines:
            for line in lines:
                if line.strip() == END_OF_WARNINGS:
                    return
                found = re.match(r"wandb: (?:WARNING|ERROR) (.*)", line)
                if found and found[1].startswith(UNDELIVERED):
                    say("undelivered", "")
                elif found:
                    say("warning", f"W&B: {one_line(found[1], 300)}")

    thread = threading.Thread(target=forward, daemon=True)
    thread.start()

    def all_forwarded() -> None:
        print(END_OF_WARNINGS, file=sys.stderr, flush=True)
        thread.join(1.0)

    return all_forwarded

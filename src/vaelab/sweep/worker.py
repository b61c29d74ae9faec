"""The inside of a job's process, from its first line to its last."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import FrameType

from vaelab.files import folder
from vaelab.sweep.jobs import portable
from vaelab.training.signals import Interrupted


def work(result: Connection, call: Callable[[], float], environment: Mapping[str, str], directory: Path) -> None:
    """Do a job and send (value, None) or (None, error).

    Args:
        result: where to send it.
        call: the work.
        environment: of this process, OMP_NUM_THREADS in it.
        directory: of the run; what is printed goes to `output.log` there.
    """
    os.environ.clear()  # a fork server's is that of its own start
    os.environ.update(environment)
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, _interrupt)
    threads = environment["OMP_NUM_THREADS"]
    if "torch" in sys.modules and threads.isdecimal():
        sys.modules["torch"].set_num_threads(int(threads))  # the fork server may be one of an earlier pool
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        print_to(directory)
        answer: tuple[float | None, Exception | None] = (call(), None)
    except Exception as error:
        answer = (None, portable(error))
    result.send(answer)
    result.close()
    sys.stdout.flush()


def print_to(directory: Path) -> None:
    """Send what this process prints from here on to `output.log` of a directory."""
    sys.stdout.flush()
    sys.stderr.flush()
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

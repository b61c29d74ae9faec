"""`.lock` of a run directory: one process at a time writes there, and others can tell whether any does."""

import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from vaelab.errors import UserError
from vaelab.files import folder

log = logging.getLogger(__name__)

LOCK = ".lock"
WAIT_SECONDS = 60


@contextmanager
def only_writer(run_dir: Path) -> Iterator[None]:
    """Keep other processes that also ask for it out of a run directory.

    Raises:
        UserError: if another process is at work there and does not end within a minute, or `.lock` is no regular file.
    """
    folder.append(run_dir, LOCK).close()  # not every release of filelock leaves alone what a link names
    lock = FileLock(run_dir / LOCK)
    with suppress(NotImplementedError):  # some network file systems cannot lock
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.info("another process is at work in %s; waiting for it to end", run_dir)
            try:
                lock.acquire(timeout=WAIT_SECONDS)
            except Timeout as error:
                raise UserError(f"{run_dir} is in use by another process; wait for it, or stop it first") from error
    try:
        yield
    finally:
        lock.release()


def has_writer(run_dir: Path) -> bool:
    """Whether a process is at work in a run directory; where the file system cannot lock, it may be."""
    try:
        with folder.opened(run_dir, LOCK) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # given back as the file is closed
    except (FileNotFoundError, UserError):
        return False
    except OSError:
        return True
    return False

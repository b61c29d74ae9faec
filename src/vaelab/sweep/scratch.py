"""Temporary folders: each goes with its process, or with the next sweep where that was killed with -9."""

import fcntl
import os
import shutil
from contextlib import suppress
from pathlib import Path
from tempfile import gettempdir, mkdtemp

PREFIX = "vaelab-conf-"
AS_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def locked_folder() -> tuple[str, int]:
    """A new temporary folder and the descriptor that locks it for as long as this process lives."""
    while True:
        folder = mkdtemp(prefix=PREFIX)
        try:
            lock = os.open(folder, AS_FOLDER)
        except FileNotFoundError:  # taken for an abandoned one before it was locked
            continue
        with suppress(OSError):  # a file system that cannot lock has no abandoned folders either
            fcntl.flock(lock, fcntl.LOCK_EX)
        if Path(folder).is_dir():
            return folder, lock
        os.close(lock)


def remove_abandoned() -> None:
    """Remove the folders of one's own sweeps that were killed with -9: those that nobody locks."""
    with os.scandir(gettempdir()) as entries:
        candidates = [entry.path for entry in entries if entry.name.startswith(PREFIX)]
    for folder in candidates:
        with suppress(OSError):  # it is a link, another user's, in use, or has just gone
            lock = os.open(folder, AS_FOLDER)
            try:
                if os.fstat(lock).st_uid == os.getuid():
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


def remove(folder: str, lock: int) -> None:
    """Remove a folder and its lock."""
    shutil.rmtree(folder, ignore_errors=True)
    os.close(lock)

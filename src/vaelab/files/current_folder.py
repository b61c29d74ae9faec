"""The folder that one is in, which may be untrusted."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def elsewhere() -> Iterator[None]:
    """Be in the root folder: some libraries read settings of the folder that one is in, which may be untrusted."""
    before = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.chdir("/")
        yield
    finally:
        os.fchdir(before)
        os.close(before)

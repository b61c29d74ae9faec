"""Descriptors of files in a directory that may be untrusted: no link on the way is followed."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from vaelab.errors import UserError

KINDS = {
    stat.S_IFLNK: "a link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFDIR: "a folder",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFREG: "a file",
}


@contextmanager
def parent_of(folder: Path, name: str) -> Iterator[tuple[int, str]]:
    """A descriptor of the folder in which the file lies, and the file's name there."""
    *inner, last = PurePosixPath(name).parts
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in inner:
            try:
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                below = os.open(part, flags, dir_fd=descriptor)
            except OSError as error:
                if error.errno not in (errno.ELOOP, errno.ENOTDIR):
                    raise
                path = folder.joinpath(*inner[: inner.index(part) + 1])
                raise refusal(path, "folder", os.stat(part, dir_fd=descriptor, follow_symlinks=False)) from error
            os.close(descriptor)
            descriptor = below
        yield descriptor, last
    except OSError as error:
        error.filename = str(folder / name)  # not that of a temporary, or relative to the descriptor
        raise
    finally:
        os.close(descriptor)


def open_regular(folder: Path, name: str, parent: int, last: str, flags: int = os.O_RDONLY) -> int:
    """A descriptor of a regular file; a FIFO, which would wait for its other end, is not waited for."""
    try:
        descriptor = os.open(last, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666, dir_fd=parent)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise
        raise refusal(folder / name, "regular file", os.stat(last, dir_fd=parent, follow_symlinks=False)) from error
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise refusal(folder / name, "regular file", found)
    return descriptor


def refusal(path: Path, wanted: str, found: os.stat_result) -> UserError:
    """The sentence for something else than was wanted, a `regular file` or a `folder`."""
    came = KINDS.get(stat.S_IFMT(found.st_mode), "something else")
    return UserError(f"{path} must be a {wanted}, got {came}; move it away")

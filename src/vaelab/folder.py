"""The files of a run's or a sweep's directory, which may be a stranger's.

All that vaelab opens below such a directory it opens here, relative to a descriptor of the directory: no link is
followed, nothing but a regular file is opened, and no more is read than a file of that name may hold. The directory
itself may be named by a link, for a person named it.
"""

import errno
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from vaelab.errors import UserError

KINDS = {stat.S_IFLNK: "a link", stat.S_IFIFO: "a FIFO", stat.S_IFDIR: "a folder", stat.S_IFSOCK: "a socket"}
TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.tmp")  # a name that nobody can have put there before


def read(folder: Path, name: str, limit: int) -> bytes:
    """The content of a file.

    Args:
        folder: the directory.
        name: of the file, `checkpoints/last.pt` for one in a folder of the directory.
        limit: the most bytes that a file of this name may hold.

    Raises:
        FileNotFoundError: if there is no such file.
        UserError: if it is no regular file, lies behind a link, or is larger.
        OSError: if it cannot be read.
    """
    with _parent(folder, name) as (parent, last), os.fdopen(_regular(folder, name, parent, last), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise UserError(f"{folder / name} may hold {limit:,} bytes at most, got {size:,}; move it away")
        return file.read(limit)


def write(folder: Path, name: str, content: bytes | memoryview) -> None:
    """Write a file so that it is there whole, and on the disk, or as it was; a link of that name is replaced.

    Raises:
        UserError: if a folder on the way is a link.
        OSError: if it cannot be written; what was there is then still there.
    """
    with _parent(folder, name) as (parent, last):
        temporary = f".{secrets.token_hex(8)}.tmp"
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(temporary, flags, 0o666, dir_fd=parent), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, last, src_dir_fd=parent, dst_dir_fd=parent)
        finally:
            with suppress(OSError):  # on a full disk it only takes room
                os.unlink(temporary, dir_fd=parent)


def append(folder: Path, name: str) -> BinaryIO:
    """A file to append to, which is made where it is missing.

    Raises:
        UserError: if it is no regular file or lies behind a link.
        OSError: if it cannot be written.
    """
    with _parent(folder, name) as (parent, last):
        descriptor = _regular(folder, name, parent, last, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        if os.fstat(descriptor).st_nlink > 1:  # what is appended would appear in another file too
            with os.fdopen(descriptor, "rb") as shared:
                write(folder, name, shared.read())
            descriptor = _regular(folder, name, parent, last, os.O_RDWR | os.O_APPEND)
        return os.fdopen(descriptor, "ab")


def rename(folder: Path, name: str, new_name: str) -> None:
    """Give a file of the directory another name in the same folder; what had that name is replaced."""
    with _parent(folder, name) as (parent, last):
        os.replace(last, PurePosixPath(new_name).name, src_dir_fd=parent, dst_dir_fd=parent)


def exists(folder: Path, name: str) -> bool:
    """Whether there is a regular file of that name; a link is none."""
    try:
        with _parent(folder, name) as (parent, last):
            return stat.S_ISREG(os.stat(last, dir_fd=parent, follow_symlinks=False).st_mode)
    except (OSError, UserError):
        return False


def make(folder: Path, name: str) -> None:
    """Make a folder in the directory, unless it is there.

    Raises:
        UserError: if something else has its name.
    """
    with _parent(folder, name) as (parent, last):
        with suppress(FileExistsError):
            os.mkdir(last, dir_fd=parent)
        found = os.stat(last, dir_fd=parent, follow_symlinks=False)
        if not stat.S_ISDIR(found.st_mode):
            raise _not(folder / name, "folder", found)


def require_writable(folder: Path, names: Iterable[str]) -> None:
    """Raise UserError unless the directory, and what there is in it of these names, can be written."""
    for path in (folder, *(folder / name for name in names)):
        if os.path.lexists(path) and not os.access(path, os.W_OK):
            raise UserError(
                f"{path} must be writable to go on there, got one that is read-only or another user's; go on with a "
                f"copy of {folder}"
            )


def sync(folder: Path) -> None:
    """Wait until the disk has the names of the files that were written."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _parent(folder: Path, name: str) -> Iterator[tuple[int, str]]:
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
                raise _not(folder / part, "folder", os.stat(part, dir_fd=descriptor, follow_symlinks=False)) from error
            os.close(descriptor)
            descriptor = below
        yield descriptor, last
    finally:
        os.close(descriptor)


def _regular(folder: Path, name: str, parent: int, last: str, flags: int = os.O_RDONLY) -> int:
    """A descriptor of a regular file; a FIFO, which would wait for its other end, is not waited for."""
    try:
        descriptor = os.open(last, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666, dir_fd=parent)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise
        raise _not(folder / name, "regular file", os.stat(last, dir_fd=parent, follow_symlinks=False)) from error
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise _not(folder / name, "regular file", found)
    return descriptor


def _not(path: Path, wanted: str, found: os.stat_result) -> UserError:
    came = KINDS.get(stat.S_IFMT(found.st_mode), "something else")
    return UserError(f"{path} must be a {wanted}, got {came}; move it away")

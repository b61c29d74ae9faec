"""The files of a run's or a sweep's directory, which may be untrusted.

All that vaelab opens below such a directory it opens here, relative to a descriptor of the directory: no link is
followed, nothing but a regular file is opened, and no more is read than a file of that name may hold. The directory
itself may be named by a link, for a person named it.
"""

import hashlib
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from vaelab.errors import UserError
from vaelab.files.descriptors import open_regular, parent_of, refusal

TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.tmp")  # a name that nobody can have put there before
LARGEST_SHARED = 10**9  # bytes of a file that is copied because it has another name too


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
    with opened(folder, name) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise UserError(f"{folder / name} may hold {limit:,} bytes at most, got {size:,}; move it away")
        return file.read(size)  # asked for `limit`, Python would take memory for all of it first


@contextmanager
def opened(folder: Path, name: str) -> Iterator[BinaryIO]:
    """A file to read; raises as `read` does."""
    with parent_of(folder, name) as (parent, last), os.fdopen(open_regular(folder, name, parent, last), "rb") as file:
        yield file


def read_on(folder: Path, name: str, position: int, limit: int) -> bytes:
    """What a growing file holds from a position on, at most `limit` bytes; nothing where there is no such file."""
    try:
        with opened(folder, name) as file:
            left = os.fstat(file.fileno()).st_size - position
            file.seek(position)
            return file.read(max(0, min(left, limit)))
    except FileNotFoundError:
        return b""


def size(folder: Path, name: str) -> int:
    """Bytes of a file, 0 where there is none; UserError if it is no regular file or lies behind a link."""
    try:
        with parent_of(folder, name) as (parent, last):
            found = os.stat(last, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return 0
    if not stat.S_ISREG(found.st_mode):
        raise refusal(folder / name, "regular file", found)
    return found.st_size


def checksum(folder: Path, name: str) -> str:
    """SHA-256 of a file, in hexadecimal digits; raises as `read` does."""
    with opened(folder, name) as file:
        found = hashlib.sha256()
        while piece := file.read(1 << 20):
            found.update(piece)
        return found.hexdigest()


def write(folder: Path, name: str, content: bytes | memoryview) -> None:
    """Write a file so that it is there whole, and on the disk, or as it was; a link of that name is replaced.

    Raises:
        UserError: if a folder on the way is a link, or the name is that of a folder.
        OSError: if it cannot be written; what was there is then still there.
    """
    with prepared(folder, name, content) as put:
        put()


@contextmanager
def prepared(folder: Path, name: str, content: bytes | memoryview) -> Iterator[Callable[[], None]]:
    """Write to a temporary, until the disk has it; calling what is given then makes it the file, as `write` does."""
    with parent_of(folder, name) as (parent, last):
        temporary = f".{secrets.token_hex(8)}.tmp"

        def put() -> None:
            try:
                os.replace(temporary, last, src_dir_fd=parent, dst_dir_fd=parent)
            except IsADirectoryError as error:
                found = os.stat(last, dir_fd=parent, follow_symlinks=False)
                raise refusal(folder / name, "regular file", found) from error

        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(temporary, flags, 0o666, dir_fd=parent), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            yield put
        finally:
            with suppress(OSError):  # on a full disk it only takes room
                os.unlink(temporary, dir_fd=parent)


def append(folder: Path, name: str) -> BinaryIO:
    """A file to append to, which is created where it is missing.

    Raises:
        UserError: if it is no regular file or lies behind a link.
        OSError: if it cannot be written.
    """
    unshare(folder, name)
    with parent_of(folder, name) as (parent, last):
        return os.fdopen(open_regular(folder, name, parent, last, os.O_RDWR | os.O_APPEND | os.O_CREAT), "ab")


def unshare(folder: Path, name: str) -> None:
    """Make a file that has a second name, outside perhaps, one of its own, for what is written to one is in both."""
    with suppress(FileNotFoundError), parent_of(folder, name) as (parent, last):
        found = os.stat(last, dir_fd=parent, follow_symlinks=False)
        if stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
            write(folder, name, read(folder, name, LARGEST_SHARED))


def rename(folder: Path, name: str, new_name: str) -> None:
    """Give a file of the directory another name in the same folder; what had that name is replaced."""
    with parent_of(folder, name) as (parent, last):
        os.replace(last, PurePosixPath(new_name).name, src_dir_fd=parent, dst_dir_fd=parent)


def link(folder: Path, name: str, new_name: str) -> None:
    """Give a file of the directory a second name, or where links cannot be made a copy; what had that name is replaced.

    Whoever changes either writes a new file, so that the other stays.
    """
    remove(folder, new_name)
    with parent_of(folder, name) as (parent, last), parent_of(folder, new_name) as (new_parent, new_last):
        try:
            os.link(last, new_last, src_dir_fd=parent, dst_dir_fd=new_parent, follow_symlinks=False)
        except OSError:
            write(folder, new_name, read(folder, name, size(folder, name)))


def remove(folder: Path, name: str) -> None:
    """Remove a file, or a link itself; nothing where there is none."""
    with suppress(FileNotFoundError), parent_of(folder, name) as (parent, last):
        os.unlink(last, dir_fd=parent)


def remove_temporaries(folder: Path, inner: str = "") -> None:
    """Remove what writers that were killed have left in a directory, or in a folder of it, not below."""
    with suppress(FileNotFoundError), parent_of(folder, str(PurePosixPath(inner) / "any")) as (parent, _):
        with os.scandir(parent) as entries:
            left = [entry.name for entry in entries if TEMPORARY.fullmatch(entry.name)]
        for name in left:
            with suppress(OSError):
                os.unlink(name, dir_fd=parent)


def exists(folder: Path, name: str) -> bool:
    """Whether there is a regular file of that name; a link is none."""
    try:
        with parent_of(folder, name) as (parent, last):
            return stat.S_ISREG(os.stat(last, dir_fd=parent, follow_symlinks=False).st_mode)
    except (OSError, UserError):
        return False


def make(folder: Path, name: str) -> None:
    """Make a folder in the directory, unless it is there.

    Raises:
        UserError: if something else has its name.
    """
    with parent_of(folder, name) as (parent, last):
        with suppress(FileExistsError):
            os.mkdir(last, dir_fd=parent)
        found = os.stat(last, dir_fd=parent, follow_symlinks=False)
        if not stat.S_ISDIR(found.st_mode):
            raise refusal(folder / name, "folder", found)


def sync(folder: Path) -> None:
    """Wait until the disk has the names of the files that were written."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

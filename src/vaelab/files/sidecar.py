"""The SHA-256 of a file, in a file beside it."""

import hashlib
from pathlib import Path

from vaelab.files import folder

LARGEST = 1000  # bytes


def digest_of(content: bytes | memoryview) -> str:
    """SHA-256 in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def name_of(name: str) -> str:
    """The name of the file beside `name`."""
    return f"{name}.sha256"


def write_digest(directory: Path, name: str, digest: str) -> None:
    """Write what the file of that name has, or is to have, as its digest."""
    folder.write(directory, name_of(name), f"{digest}\n".encode())


def read_digest(directory: Path, name: str) -> str | None:
    """What is written beside the file of that name; None where nothing is."""
    try:
        return folder.read(directory, name_of(name), LARGEST).decode("ascii", "replace").strip()
    except FileNotFoundError:
        return None

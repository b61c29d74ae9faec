"""Whether a directory is one to work in: it can be written, and holds nothing but files and folders."""

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from vaelab.errors import UserError
from vaelab.files.descriptors import refusal

# in the folder wandb, and in the logs of an earlier launch, which nobody opens
LINKS_OF_WANDB = re.compile(r"latest-run|debug(-.*)?\.log")
MOST_FILES = 1_000_000  # of a directory, which takes seconds to walk
DEEPEST = 50


def require_writable(folder: Path, names: Iterable[str]) -> None:
    """Raise UserError unless the directory, and what there is in it of these names, can be written."""
    for path in (folder, *(folder / name for name in names)):
        if os.path.lexists(path) and not os.access(path, os.W_OK):
            raise UserError(
                f"{path} must be writable to go on there, got one that is read-only or another user's; go on with a "
                f"copy of {folder}"
            )


def check_plain(folder: Path) -> None:
    """Raise UserError unless all in a directory, and below it, are regular files and folders.

    For what other libraries open there, such as a database, which follow links. Links that W&B makes pass.
    """
    waiting, count = [(folder, 0)], 0
    while waiting:
        inner, depth = waiting.pop()
        with suppress(FileNotFoundError), os.scandir(inner) as entries:  # of a run that goes on, some come and go
            for entry in entries:
                count += 1
                if count > MOST_FILES or depth > DEEPEST:
                    raise UserError(
                        f"{folder} may hold {MOST_FILES:,} files at most, in folders nested at most {DEEPEST} deep; "
                        f"move away what is no part of the run"
                    )
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((inner / entry.name, depth + 1))
                elif not entry.is_file(follow_symlinks=False) and not _is_link_of_wandb(inner, entry):
                    raise refusal(inner / entry.name, "regular file", entry.stat(follow_symlinks=False))


def _is_link_of_wandb(inner: Path, entry: os.DirEntry[str]) -> bool:
    is_theirs = inner.name == "wandb" or (inner.name == "logs" and inner.parent.parent.name == "wandb")
    return is_theirs and entry.is_symlink() and LINKS_OF_WANDB.fullmatch(entry.name) is not None

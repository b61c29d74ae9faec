"""Checkpoints that survive a crash at any moment: written aside, fsynced, renamed, each with a checksum.

Beside `last.pt` lies `last.previous.pt`, the one before. The checksum of a file is renamed into place before the file
itself, so that whenever the process dies at least one of the two files matches its checksum.
"""

import hashlib
import io
import logging
import os
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as to_bytes
from torch import Tensor

from vaelab.errors import UserError
from vaelab.records import write_synced, write_text, write_whole

log = logging.getLogger(__name__)


def save(path: Path, state: dict[str, Any]) -> None:
    """Write `state`, tensors and plain values only, to `path`; what was there becomes `<stem>.previous.pt`.

    Raises:
        OSError: if it cannot be written; what was there is then still there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    temporary = path.with_suffix(".tmp")
    try:
        write_synced(temporary, buffer.getbuffer())
        if path.exists() and _matches_checksum(path, path.read_bytes()):  # a damaged one must not replace a good one
            previous = _previous(path)
            write_text(_checksum_path(previous), _checksum_path(path).read_text())
            path.replace(previous)
        write_text(_checksum_path(path), hashlib.sha256(buffer.getbuffer()).hexdigest() + "\n")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)  # on a full disk it only takes room
    _sync_directory(path.parent)


def load(path: Path) -> dict[str, Any] | None:
    """The state at `path`, or the one before where that is damaged, or None where there has been none.

    Raises:
        UserError: if every checkpoint there is damaged, or holds more than tensors and plain values.
    """
    candidates = [candidate for candidate in (path, _previous(path)) if candidate.exists()]
    for candidate in candidates:
        content = candidate.read_bytes()
        if not _matches_checksum(candidate, content):
            log.warning("%s does not match its checksum and is passed over", candidate)
            continue
        try:
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError) as error:
            raise UserError(
                f"{candidate} must hold tensors and plain values only, and was not loaded because it holds something "
                f"else, which could run code"
            ) from error
    if candidates:
        raise UserError(
            f"every checkpoint of {path.name} in {path.parent} is damaged; restore one from a copy, or move the folder "
            f"away to start again"
        )
    return None


def export_weights(path: Path, weights: dict[str, Tensor]) -> None:
    """Write weights as safetensors, for other tools."""
    write_whole(path, to_bytes({name: tensor.contiguous() for name, tensor in weights.items()}))


def _matches_checksum(path: Path, content: bytes) -> bool:
    checksum = _checksum_path(path)
    return checksum.exists() and checksum.read_bytes().strip() == hashlib.sha256(content).hexdigest().encode()


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _previous(path: Path) -> Path:
    return path.with_suffix(".previous.pt")


def _checksum_path(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")

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
from safetensors.torch import save_file
from torch import Tensor

from vaelab.errors import UserError

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
    _write(temporary, buffer.getbuffer())
    if path.exists() and _checksum_path(path).exists():
        previous = _previous(path)
        write_text(_checksum_path(previous), _checksum_path(path).read_text())
        path.replace(previous)
    write_text(_checksum_path(path), hashlib.sha256(buffer.getbuffer()).hexdigest() + "\n")
    temporary.replace(path)
    _sync_directory(path.parent)


def load(path: Path) -> dict[str, Any] | None:
    """The state at `path`, or the one before where that is damaged, or None where there has been none.

    Raises:
        UserError: if every checkpoint there is damaged, or holds more than tensors and plain values.
    """
    candidates = [candidate for candidate in (path, _previous(path)) if candidate.exists()]
    for candidate in candidates:
        content = candidate.read_bytes()
        checksum = _checksum_path(candidate)
        if not checksum.exists() or checksum.read_text().strip() != hashlib.sha256(content).hexdigest():
            log.warning("%s does not match its checksum and is passed over", candidate)
            continue
        try:
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError) as error:
            raise UserError(
                f"{candidate} must hold tensors and plain values only, and was not loaded because it holds other "
                f"objects, which could run code"
            ) from error
    if candidates:
        raise UserError(
            f"every checkpoint of {path.name} in {path.parent} is damaged; restore one from a copy, or move the folder "
            f"away to start again"
        )
    return None


def export_weights(path: Path, weights: dict[str, Tensor]) -> None:
    """Write weights as safetensors, for other tools."""
    temporary = path.with_suffix(".tmp")
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, temporary)
    temporary.replace(path)


def write_text(path: Path, text: str) -> None:
    """Write a small file so that it is there whole or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    _write(temporary, text.encode())
    temporary.replace(path)


def _write(path: Path, content: bytes | memoryview) -> None:
    try:
        with path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        path.unlink(missing_ok=True)  # on a full disk half a file only takes room
        raise


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

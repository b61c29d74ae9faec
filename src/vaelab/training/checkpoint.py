"""Checkpoints that survive a crash at any moment: written aside, fsynced, renamed, each with a checksum.

Beside `last.pt` lies `last.previous.pt`, the one before. The checksum of a file is renamed into place before the file
itself, so that whenever the process dies at least one of the two files matches its checksum.
"""

import io
import logging
import pickletools
import zipfile
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from vaelab.errors import UserError, is_out_of_memory
from vaelab.files import folder, sidecar
from vaelab.machine.device import free_memory

log = logging.getLogger(__name__)

PUTS, GETS = ("PUT", "BINPUT", "LONG_BINPUT"), ("GET", "BINGET", "LONG_BINGET")
TUPLES = ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3")
MOST_SHARED_TUPLES = 20


def copied(state: Any) -> Any:
    """A state as it is now, in main memory, whatever is done to its tensors later."""
    if isinstance(state, Tensor):
        return state.detach().to("cpu", copy=True)
    if isinstance(state, dict):
        return {name: copied(value) for name, value in state.items()}
    return [copied(value) for value in state] if isinstance(state, list) else state


def write(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint; what was there becomes `<stem>.previous.pt`.

    Args:
        path: a file in a folder of the run's directory, which is made where it is missing.
        state: to be kept, tensors and plain values only.

    Raises:
        UserError: if that folder is a link.
        OSError: if it cannot be written; what was there is then still there.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getbuffer()
    run_dir, name = _place(path)
    run_dir.mkdir(parents=True, exist_ok=True)
    folder.make(run_dir, path.parent.name)
    with folder.prepared(run_dir, name, content) as put:
        if _is_good(path):  # a damaged one must not replace a good one
            previous = _place(_previous(path))[1]
            sidecar.write_digest(run_dir, previous, sidecar.read_digest(run_dir, name) or "")
            folder.rename(run_dir, name, previous)
        sidecar.write_digest(run_dir, name, sidecar.digest_of(content))
        put()
    folder.sync(path.parent)


def load(path: Path) -> dict[str, Any] | None:
    """The state at `path`, or the one before where that is damaged, or None where there has been none.

    Raises:
        UserError: if every checkpoint there is damaged, or one holds more than tensors and plain values, more than fits
            into memory, or is no regular file.
    """
    damaged = False
    for candidate in (path, _previous(path)):
        try:
            content = _content(candidate)
        except FileNotFoundError:
            if candidate == path and folder.exists(*_place(_previous(path))):
                log.warning("%s is gone, and the one before it is used", path)
            continue
        damaged = True
        if not _matches_checksum(candidate, sidecar.digest_of(content)):
            log.warning("%s does not match its checksum and is passed over", candidate)
            continue
        try:
            check_archive(content)
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        except Exception as error:  # what torch raises of a damaged file has no class in common
            if is_out_of_memory(error):
                raise
            raise UserError(
                f"{candidate} must hold tensors and plain values only, and was not loaded because it holds something "
                f"else, which could run code"
            ) from error
    if damaged:
        raise UserError(
            f"every checkpoint of {path.name} in {path.parent} is damaged; restore one from a copy, or move the folder "
            f"away to start again"
        )
    return None


def check_archive(content: bytes) -> None:
    """Raise ValueError for a checkpoint that would take more memory or time than its size tells.

    That is one with compressed entries, or entries that share bytes, with bytes made anew, or with tuples that hold one
    tuple many times over, whose hashes take twice the time with each.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError("compressed entries")
        if sum(entry.file_size for entry in entries) > len(content):
            raise ValueError("entries that share bytes")
        pickles = [archive.read(entry) for entry in entries if entry.filename.endswith(".pkl")]
    for pickled in pickles:
        before, tuples, again = "", set(), 0
        for opcode, argument, _ in pickletools.genops(pickled):
            if opcode.name == "GLOBAL" and "bytearray" in argument:
                raise ValueError("bytes made anew")
            if opcode.name in PUTS and before in TUPLES:
                tuples.add(argument)
            again += opcode.name in GETS and argument in tuples
            if again > MOST_SHARED_TUPLES:
                raise ValueError("tuples of tuples")
            before = opcode.name


def export_weights(run_dir: Path, weights: dict[str, Tensor]) -> None:
    """Write weights as `model.safetensors`, for other tools."""
    content = safetensors.torch.save({name: tensor.contiguous() for name, tensor in weights.items()})
    folder.write(run_dir, "model.safetensors", content)


def _is_good(path: Path) -> bool:
    run_dir, name = _place(path)
    if not folder.exists(run_dir, name) or 2 * folder.size(run_dir, name) > free_memory(torch.device("cpu")):
        return False
    return _matches_checksum(path, folder.checksum(run_dir, name))


def _content(path: Path) -> bytes:
    """The file, unless it and the tensors made of it cannot both be in memory."""
    run_dir, name = _place(path)
    size, free = folder.size(run_dir, name), free_memory(torch.device("cpu"))
    if 2 * size > free:
        raise UserError(
            f"{path} takes {2 * size / 1e9:,.1f} GB to be loaded, and {free / 1e9:,.1f} GB of memory are free; free "
            f"some, or move the file away"
        )
    return folder.read(run_dir, name, size)


def _matches_checksum(path: Path, digest: str) -> bool:
    return sidecar.read_digest(*_place(path)) == digest


def _place(path: Path) -> tuple[Path, str]:
    """The run's directory, and the file's name in it, as `vaelab.files.folder` takes them."""
    return path.parent.parent, f"{path.parent.name}/{path.name}"


def _previous(path: Path) -> Path:
    return path.with_suffix(".previous.pt")

"""A run as a folder for others: networks or weights, the config, what it reached, a model card."""

import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from vaelab.errors import UserError
from vaelab.export.card import card
from vaelab.export.formats import write_onnx, write_torch
from vaelab.export.networks import PARTS, direction
from vaelab.files import folder
from vaelab.run.hub import OF_A_RUN, WEIGHTS
from vaelab.run.load import Run

FORMATS = {"onnx": (write_onnx, ".onnx"), "torch": (write_torch, ".pt2"), "safetensors": (None, ".safetensors")}
LARGEST = 10**10  # bytes of a file


def export(run: Run, kind: str, parts: Sequence[str], output: Path) -> list[str]:
    """Write a folder with the networks, or all weights, and a card; returns the names of its files.

    Args:
        run: to be exported.
        kind: `onnx` or `torch`, of which other programs run the networks, or `safetensors`, which `load_run` loads.
        parts: `encoder`, `decoder` or both; of `safetensors` both.
        output: the folder, which must be new or empty.

    Raises:
        UserError: if it is neither, or the networks cannot be told in that format.
    """
    if output.is_file() or (output.is_dir() and any(output.iterdir())):
        raise UserError(f"the output must be a new folder, got {output}, which is there; name another one", 2)
    if not output.parent.is_dir():
        raise UserError(f"the output must lie in a folder that is there, got {output}; make {output.parent} first", 2)
    write, suffix = FORMATS[kind]
    if write is None and tuple(parts) != PARTS:
        raise UserError("safetensors holds all weights; leave --part out, or use --format onnx or torch", 2)
    output.mkdir(exist_ok=True)
    try:
        if write is not None:
            for part in parts:
                write(direction(run.model, run.facts, part), output / f"{part}{suffix}")
        for file in (*OF_A_RUN, *(WEIGHTS if write is None else ())):
            if file == WEIGHTS[0] and not folder.exists(run.path, file):
                raise UserError(f"{run.path} has no {file}; --format torch and onnx need none")
            with suppress(FileNotFoundError):
                content = folder.read(run.path, file, LARGEST)  # no link of a run of somebody else is followed
                (output / file).parent.mkdir(exist_ok=True)
                (output / file).write_bytes(content)
    except UserError:
        shutil.rmtree(output)
        raise
    files = sorted(str(file.relative_to(output)) for file in output.rglob("*") if file.is_file())
    (output / "README.md").write_text(card(run, kind, parts, files))
    return [*files, "README.md"]

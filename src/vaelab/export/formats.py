"""Networks as files of ONNX and of torch.export, each held against the model when it is written."""

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vaelab.errors import UserError, one_line
from vaelab.export.networks import Direction

TOLERANCE = 1e-4  # between what the model gives and what the file gives, of numbers below 10; relatively a tenth of it
Outputs = Sequence[Tensor]


def write_onnx(found: Direction, path: Path) -> None:
    """Write an ONNX file that takes batches of any size.

    Raises:
        UserError: if the packages for it are missing, the network cannot be told in ONNX, or the file computes
            something else.
    """
    try:
        import onnxruntime
        from onnxscript import opset18
    except ImportError as error:
        raise UserError("ONNX needs onnxscript and onnxruntime; pip install 'vaelab[onnx]'") from error

    def sigmoid(logits: Any) -> Any:
        # the runtime's own is 1e-3 of its value off where it is small
        return opset18.Reciprocal(opset18.Add(opset18.Exp(opset18.Neg(logits)), 1.0))

    def cross_entropy(logits: Any, x: Any, *_: Any, **__: Any) -> Any:
        # and so is the exporter's, which is the log of that
        return opset18.Sub(opset18.Softplus(logits), opset18.Mul(x, logits))

    try:
        with _without_remarks():
            program = torch.onnx.export(
                found.module,
                found.example,
                dynamo=True,
                verbose=False,
                input_names=found.inputs,
                output_names=found.outputs,
                dynamic_shapes=found.dynamic_shapes,
                custom_translation_table={
                    torch.ops.aten.sigmoid.default: sigmoid,
                    torch.ops.aten.binary_cross_entropy_with_logits.default: cross_entropy,
                },
            )
        program.save(str(path))
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:  # whatever the exporter cannot do
        raise UserError(f"the {path.stem} of this model cannot be told in ONNX ({_reason(error)})") from error

    def run(*inputs: Tensor) -> Outputs:
        given = {name: value.numpy() for name, value in zip(found.inputs, inputs, strict=True)}
        return [torch.from_numpy(value) for value in session.run(None, given)]

    _check(found, run, path)


def write_torch(found: Direction, path: Path) -> None:
    """Write a program of torch.export's, which `torch.export.load(path).module()` runs without vaelab.

    Raises:
        UserError: if the network cannot be recorded, or the file computes something else.
    """
    try:
        with _without_remarks():
            program = torch.export.export(found.module, found.example, dynamic_shapes=found.dynamic_shapes)
        torch.export.save(program, path)
    except Exception as error:  # whatever cannot be recorded
        raise UserError(f"the {path.stem} of this model cannot be recorded ({_reason(error)})") from error
    _check(found, torch.export.load(path).module(), path)


@torch.no_grad()
def _check(found: Direction, run: Callable[..., Outputs], path: Path) -> None:
    """Raise UserError unless the file gives what the model gives, of another number of other inputs."""
    inputs = [
        torch.cat([value, value.flip(0)])[:3] if shape else value
        for value, shape in zip(found.example, found.dynamic_shapes, strict=True)
    ]
    pairs = list(zip(run(*inputs), found.module(*inputs), strict=True))
    off = max(((one - other).abs() / (1 + 0.1 * other.abs())).max().item() for one, other in pairs)
    if not off <= TOLERANCE:
        path.unlink()
        raise UserError(f"{path.name} should compute what the model does, and is {off:.2g} off; nothing was kept of it")


@contextmanager
def _without_remarks() -> Iterator[None]:
    """Leave out what exporters say of their own workings."""
    logging.disable(logging.INFO)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def _reason(error: BaseException) -> str:
    """What an exporter's error came from, without its advice to developers."""
    while error.__cause__ is not None:
        error = error.__cause__
    return one_line(str(error).partition("\n")[0] or type(error).__name__, 150)

"""The device of a run: which it is, its name, its memory, its clock, and the precision of its float32 products."""

import platform
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import torch

from vaelab.errors import UserError, is_out_of_memory, nearest
from vaelab.machine.ranks import SINGLE, Ranks

CONTAINER_MEMORY = Path("/sys/fs/cgroup/memory.max")


def pick_device(name: str, ranks: Ranks = SINGLE, key: str = "trainer.device") -> torch.device:
    """The device of that name, or with `auto` the best there is; UserError, which names the `key`, if it is absent.

    Of several ranks each has the GPU of its number on its machine, or else the CPU.
    """
    if not ranks.is_single:
        return _rank_device(name, ranks)
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    there = [kind for kind, is_there in available.items() if is_there]
    if name == "auto":
        return torch.device(there[0])
    kind, _, index = str(name).partition(":")
    if kind not in available:
        gpu = "mps" if there[0] == "mps" else "cuda"
        near = f"; did you mean {gpu!r}?" if kind == "gpu" else nearest(kind, available)
        choices = ", ".join(("auto", *available))
        raise UserError(f"{key} must be one of {choices}, got {name!r}{near} (this machine has {', '.join(there)})")
    count = torch.cuda.device_count() if kind == "cuda" else 1
    if kind not in there or (index and not (index.isdigit() and int(index) < count)):
        raise UserError(f"{key}={name} is not on this machine, which has {', '.join(there)}; use {key}=auto")
    return torch.device(name)


def _rank_device(name: str, ranks: Ranks) -> torch.device:
    if name not in ("auto", "cuda", "cpu"):
        raise UserError(f"trainer.device must be auto, cuda or cpu with {ranks.size} ranks, got {name}")
    gpus = torch.cuda.device_count()
    if name == "cpu" or (name == "auto" and gpus == 0):
        return torch.device("cpu")
    if ranks.local_rank >= gpus:
        raise UserError(
            f"each rank needs a GPU of its own, and this machine has {gpus}; start torchrun with "
            f"--nproc-per-node={gpus or 1}, or use trainer.device=cpu"
        )
    device = torch.device("cuda", ranks.local_rank)
    torch.cuda.set_device(device)  # NCCL wants it to be the current one
    return device


def device_name(device: torch.device) -> str:
    """The name of the chip behind a device, such as `NVIDIA H100` or `x86_64 CPU`."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return "Apple GPU (MPS)" if device.type == "mps" else f"{platform.machine()} CPU"


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def set_precision(precision: str) -> None:
    """Set how GPUs compute float32 matrix products and convolutions in this process, the one like the other.

    torch's own defaults are full float32 in products and TF32, with 10 bits of mantissa, in convolutions.

    Args:
        precision: `tf32`; with any other both are full float32. bfloat16 networks are asked for by autocast.
    """
    _set_switches("high" if precision == "tf32" else "highest", precision == "tf32")


@contextmanager
def precision_of(precision: str) -> Iterator[None]:
    """The same, undone at the end, for a process that has other work too."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    set_precision(precision)
    try:
        yield
    finally:
        _set_switches(*before)


def _set_switches(products: str, convolutions_in_tf32: bool) -> None:
    with warnings.catch_warnings():
        # From torch 2.9 on both switches warn that `fp32_precision` is to follow them; but torch.compile still reads
        # them there, and raises where `fp32_precision` alone was set (pytorch issue 166387).
        warnings.filterwarnings("ignore", "Please use the new API settings to control TF32", UserWarning)
        torch.set_float32_matmul_precision(products)
        torch.backends.cudnn.allow_tf32 = convolutions_in_tf32


def free_memory(device: torch.device) -> int:
    """Bytes that are free on a GPU, or in the host's memory for what shares it; no more than a container may have."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    found = [psutil.virtual_memory().available]
    with suppress(OSError, ValueError):  # "max" where there is no limit
        found.append(int(CONTAINER_MEMORY.read_text()))
    return min(found)


@contextmanager
def in_memory(what: str, advice: str) -> Iterator[None]:
    """Turn what is raised where memory is full into one sentence.

    Args:
        what: did not fit.
        advice: what to do about it.

    Raises:
        UserError: where the memory of host or device is full.
    """
    try:
        yield
    except Exception as error:  # which class it is depends on the device
        if not is_out_of_memory(error):
            raise
        raise UserError(f"out of memory: {what} did not fit; {advice}") from error

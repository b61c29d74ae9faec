"""Which GPUs the jobs of a sweep may use, asked without starting CUDA in a process that jobs are forked from."""

import ctypes
import os
import runpy
from collections.abc import Mapping
from importlib.util import find_spec
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path


def gpus_are_possible() -> bool:
    """Whether torch can have any GPU: it is built for them, they have a driver, and the environment hides them not."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1"):
        return False
    torch = find_spec("torch")
    assert torch is not None
    assert torch.origin is not None
    build = runpy.run_path(str(Path(torch.origin).with_name("version.py")))  # torch itself takes seconds to import
    if build["cuda"] is None:
        return build.get("hip") is not None
    try:
        ctypes.CDLL("libcuda.so.1")  # is loaded, not started
    except OSError:
        return False
    return True


def visible_gpus(context: ForkServerContext) -> list[str]:
    """The GPUs that torch can use, as CUDA_VISIBLE_DEVICES names them.

    A child of the fork server is asked, which has imported torch already: no job could use CUDA that is forked from a
    process in which CUDA has been started.
    """
    answer, sender = context.Pipe(duplex=False)
    process = context.Process(target=_tell_gpus, args=(sender, dict(os.environ)), name="GPUs")
    process.start()
    sender.close()
    try:
        count = answer.recv()
    except EOFError:  # the driver has ended the process, as it would end the jobs
        count = 0
    process.join()
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [str(index) for index in range(count)] if chosen is None else chosen.split(",")
    return [name.strip() for name in names[:count]]


def _tell_gpus(answer: Connection, environment: Mapping[str, str]) -> None:
    os.environ.update(environment)  # a fork server's is that of its own start
    import torch

    answer.send(torch.cuda.device_count() if torch.cuda.is_available() else 0)

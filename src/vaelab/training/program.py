"""A function of tensors as one compiled program, made once a machine and kept among the user's cached files.

What autograd does to the tensors is compiled ahead of time: torch.compile, which reads the Python of a function, stops
at hooks and at the transforms of torch.distributions, and takes seconds of every process, whatever is in its cache.
"""

import hashlib
import logging
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from copy import copy, deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from filelock import FileLock
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from vaelab.files.user_cache import user_cache
from vaelab.training.recording import Recording

KEPT = 100  # programs of 2 MB each
Function = Callable[..., Sequence[Tensor]]


class Program:
    """A function of tensors, which the first call compiles or takes from the cache.

    What it computes of other tensors than its arguments, such as buffers, stays as it was then.

    Args:
        function: of tensors in dictionaries, lists and tuples, which it may change in place.
        held: its first arguments, of the same memory in every call; the others are given in each.
        most: operations; RuntimeError is raised for a function of more.
    """

    def __init__(self, function: Callable[..., Any], held: tuple[Any, ...], most: float) -> None:
        self.function = function
        self.held = held
        self.most = most
        self._held = tree_leaves(held)
        self._run: Callable[[list[Tensor]], list[Tensor]] | None = None

    def __call__(self, *given: Any) -> Any:
        """What the function returns of what is held and of these."""
        if self._run is None:
            self.prepare(*given)
        assert self._run is not None
        return tree_unflatten(self._run([*self._held, *tree_leaves(given)]), self._form)

    def holding(self, held: tuple[Any, ...]) -> "Program":
        """The same program of other tensors, of the same form, in the place of those that are held."""
        other = copy(self)
        other.held, other._held = held, tree_leaves(held)
        return other

    def prepare(self, *given: Any) -> None:
        """Compile it, or take it from the cache, for what is of this form; nothing is run."""
        self._run = self._prepared(given)

    def _prepared(self, given: tuple) -> Callable[[list[Tensor]], list[Tensor]]:
        tensors, form = tree_flatten((*self.held, *given))

        def flat(*tensors: Tensor) -> list[Tensor]:
            returned, self._form = tree_flatten(self.function(*tree_unflatten(tensors, form)))
            return returned

        recording = Recording(flat, deepcopy(tensors))
        if recording.operations > self.most:
            raise RuntimeError(f"{recording.operations:,} operations would compile longer than that saves")
        name = hashlib.sha256(f"{_settings()}\n{recording.text}".encode()).hexdigest()
        try:
            folder = user_cache() / "programs" / name
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:  # then the next run compiles again
            with TemporaryDirectory() as folder:
                return _load(_compile(flat, tensors, Path(folder)))
        return _kept(folder, flat, tensors)


def _settings() -> tuple:
    """What a program depends on besides its function."""
    return (
        torch.__version__,
        torch.cpu.get_capabilities(),
        torch.get_num_threads(),
        torch.get_float32_matmul_precision(),
        torch.are_deterministic_algorithms_enabled(),
    )


def _kept(folder: Path, function: Function, tensors: list[Tensor]) -> Callable[[list[Tensor]], list[Tensor]]:
    """The program of this folder; of several processes one compiles it."""
    package, digest = folder / "package", folder / "sha256"
    with FileLock(folder / "lock"):
        os.utime(folder)
        if not digest.exists() or digest.read_text() != _digest(package):  # half a library ends the process
            shutil.rmtree(package, ignore_errors=True)
            with TemporaryDirectory(dir=folder) as new:
                _compile(function, tensors, Path(new)).rename(package)
            digest.write_text(_digest(package))
    with suppress(OSError):  # another run removes them
        for unused in sorted(folder.parent.iterdir(), key=lambda each: each.stat().st_mtime)[:-KEPT]:
            shutil.rmtree(unused)
    return _load(package)


def _digest(package: Path) -> str:
    return hashlib.sha256(b"".join(library.read_bytes() for library in sorted(package.rglob("*.so")))).hexdigest()


def _compile(function: Function, tensors: list[Tensor], folder: Path) -> Path:
    """Compile a function for tensors of this form; returns the package, a folder in this one."""
    from torch.fx.experimental.proxy_tensor import make_fx  # with torch._inductor, which takes two seconds

    with _quiet():
        graph = make_fx(function)(*deepcopy(tensors))
        exported = torch.export.export(graph, tuple(tensors), strict=False)
        archive = torch._inductor.aoti_compile_and_package(exported, package_path=str(folder / "program.pt2"))
    with zipfile.ZipFile(archive) as files:
        files.extractall(folder / "package")
    return folder / "package"


def _load(package: Path) -> Callable[[list[Tensor]], list[Tensor]]:
    # of a folder, as torch would unpack an archive for itself, and leave that behind where the process is killed
    return torch._C._aoti.AOTIModelPackageLoader(str(package)).run  # as torch._inductor.aoti_load_package does


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch from warning, as it looks for CUDA to compile with, that there is none."""
    cuda_log = logging.getLogger("torch.utils.cpp_extension")
    level = cuda_log.level
    cuda_log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        cuda_log.setLevel(level)

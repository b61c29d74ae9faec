"""vaelab: experiments with variational autoencoders."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vaelab.run.load import Run, load_run

__all__ = ["Run", "__version__", "load_run"]


def __getattr__(name: str) -> Any:
    # `python run.py --help` imports this package and must not wait for torch.
    if name == "__version__":
        return _version()
    if name in __all__:
        return getattr(import_module("vaelab.run.load"), name)
    raise AttributeError(f"module 'vaelab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("vaelab")
    except PackageNotFoundError:  # on the path, not installed
        return "unknown"

"""torch._dynamo later: `torch.optim` imports it, which takes a second, and where nothing is compiled hardly uses it."""

import importlib
import sys
import threading
from collections.abc import Callable
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

NAME = "torch._dynamo"


def postpone() -> None:
    """Let `torch.optim` work without torch._dynamo, which is imported as soon as anything else asks for it."""
    if NAME not in sys.modules:
        sys.modules[NAME] = torch._dynamo = _Postponed(NAME)
        sys.meta_path.insert(0, _LoadedMeanwhile())


class _Postponed(ModuleType):
    """Gives `torch.optim` what it asks torch._dynamo for, as it is while nothing is compiled; others the real one."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__file__ = str(Path(torch.__path__[0], "_dynamo", "__init__.py"))
        self.__spec__ = ModuleSpec(name, None, origin=self.__file__, is_package=True)
        self._lock = threading.RLock()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__path__":
            raise AttributeError(name)
        asker = sys._getframe(1).f_globals.get("__name__")
        if (asker, name) == ("torch.optim.optimizer", "graph_break"):
            return _nothing
        if (asker, name) == ("torch._compile", "disable"):
            return self._disabled
        with self._lock:
            if sys.modules.get(NAME) is self:
                del sys.modules[NAME]
        return getattr(importlib.import_module(NAME), name)

    def _disabled(self, function: Callable[..., Any], *settings: Any, **more: Any) -> Callable[..., Any]:
        """A function of torch's own that is never compiled: itself, if it is an optimizer's."""
        if function.__module__.startswith("torch.optim."):
            return function
        return importlib.import_module(f"{NAME}.decorators").disable(function, *settings, **more)


def _nothing() -> None:
    pass


class _LoadedMeanwhile(MetaPathFinder, Loader):
    """Keeps a module of torch._dynamo from being loaded twice.

    `import torch._dynamo.config` asks what is postponed for its path, by which all of it is imported, that module too.
    """

    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        """Where such a module is found: here, if it is there already."""
        if fullname.startswith(f"{NAME}.") and fullname in sys.modules:
            return ModuleSpec(fullname, self, loader_state=sys.modules[fullname].__spec__)
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The module itself."""
        return sys.modules[spec.name]

    def exec_module(self, module: ModuleType) -> None:
        """Leave it as it was."""
        if module.__spec__ is not None and module.__spec__.loader is self:
            module.__spec__ = module.__spec__.loader_state

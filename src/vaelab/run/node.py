"""One node of a config, a mapping with `_target_`, as the object that it names.

From the config of a saved run, which is not trusted, only targets that `conf/` names for that part, and torch's
optimizers, are built.
"""

import importlib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from hydra.errors import InstantiationException
from hydra.utils import instantiate

import vaelab
from vaelab.errors import ArgumentError, UserError, is_number, nearest, one_line

CONF = Path(vaelab.__file__).parent / "conf"
Config = Mapping[str, Any]


class UnknownKeyError(UserError):
    """A key that the object built from its node does not take.

    Args:
        node: the node, such as `model`.
        key: the unknown key.
        known: the keys that it takes.
    """

    def __init__(self, node: str, key: str, known: Iterable[str]) -> None:
        known = sorted(known)
        near = nearest(key, known) or f"; it takes {', '.join(known)}"
        super().__init__(f"{node} has no key {key!r}{near}")
        self.node = node
        self.key = key
        self.known = known

    def __reduce__(self) -> tuple[Any, ...]:
        # an error of a job that ran in another process has to travel
        return UnknownKeyError, (self.node, self.key, self.known)


class NodeBuilder:
    """Builds the nodes of a config.

    Args:
        config: plain dictionaries, resolved.
        trusted: packages whose code may be run besides vaelab's own parts; None for any.
    """

    def __init__(self, config: Config, trusted: tuple[str, ...] | None) -> None:
        self.config = config
        self.trusted = trusted

    def build(self, name: str, **known: Any) -> Any:
        """The object of the node `name`; of what is `known` it is given what its signature names.

        Raises:
            UserError: if the node is none, its target is not there or not trusted, or its keys or values do not suit.
        """
        node = self.config.get(name)
        if not isinstance(node, Mapping) or "_target_" not in node:
            raise UserError(f"{name} must be one of the options of its group, with a _target_, got {node!r}")
        self._check_targets(name, node)
        target = _locate(str(node["_target_"]))
        if not callable(target):
            raise UserError(f"{name}._target_ must name a class or a function, but there is no {node['_target_']}")
        parameters = _parameters(target)
        given = {key: value for key, value in known.items() if key in {parameter.name for parameter in parameters}}
        _check_keys(name, node, parameters, given)
        _check_types(name, node, parameters)
        # Arguments given to `instantiate` itself would be turned into config nodes; those of the call stay objects.
        partial = {**node, **_real(node, parameters), "_partial_": True, "_convert_": "all"}
        with naming(name):
            return instantiate(partial)(**given)

    def names(self, name: str) -> set[str]:
        """The parameters of what the node `name` is built by."""
        return {parameter.name for parameter in _parameters(_locate(str(self.config[name]["_target_"])))}

    def _check_targets(self, name: str, node: Any) -> None:
        if self.trusted is None:
            return
        if isinstance(node, str) and "${" in node:
            # a saved config is resolved; a resolver that is called now could make a node of any target
            raise UserError(f"{name} of a saved run must hold plain values, got {node!r}; write the value itself")
        if isinstance(node, Mapping):
            target = node.get("_target_")
            if target is not None and not self._is_trusted(name, str(target)):
                own = "torch.optim" if name == "optimizer" else f"the options of {name} in vaelab's conf"
                raise UserError(
                    f"{name}._target_ of a saved run must be one of {own}, got {target}; "
                    f"if you trust its code, name its package: trust=[{str(target).split('.')[0]}]"
                )
        for child in node.values() if isinstance(node, Mapping) else node if isinstance(node, list) else ():
            self._check_targets(f"{name}.", child)  # no option of vaelab's has a node in a node

    def _is_trusted(self, name: str, target: str) -> bool:
        if target in own_targets(name):
            return True
        packages = (*(["torch.optim"] if name == "optimizer" else []), *(self.trusted or ()))
        if not any(target.startswith(f"{package}.") for package in packages):
            return False
        # `torch.optim.sgd.torch.hub.load` begins well and ends elsewhere: ask the object where it is from
        found = _locate(target)
        module = getattr(found, "__module__", None) or ""
        is_own = f"{module}.{getattr(found, '__qualname__', '')}" in own_targets(name)  # imported by a trusted package
        return is_own or any(f"{module}.".startswith(f"{package}.") for package in packages)


@cache
def own_targets(group: str) -> frozenset[str]:
    """What the options of a group in vaelab's own `conf/` are built by."""
    files = (CONF / group).glob("*.yaml") if group.isidentifier() else ()
    return frozenset(filter(None, (_target_of(file) for file in files)))


def default_target(group: str) -> str | None:
    """What the default option of a group is built by."""
    defaults = yaml.safe_load((CONF / "config.yaml").read_text())["defaults"]
    option = next(entry[group] for entry in defaults if isinstance(entry, dict) and group in entry)
    return _target_of(CONF / group / f"{option}.yaml")


def _target_of(file: Path) -> str | None:
    return yaml.safe_load(file.read_text()).get("_target_")


@contextmanager
def naming(node: str) -> Iterator[None]:
    """Turn what a part raises of its arguments into a UserError that names the node, and the key where that is known.

    Raises:
        UserError: for a ValueError, TypeError or IndexError inside.
    """
    try:
        yield
    except InstantiationException as error:
        cause = error.__cause__
        if not isinstance(cause, ValueError | TypeError | IndexError | UserError):
            raise
        raise _named(node, cause) from error
    except (ValueError, TypeError, IndexError) as error:
        raise _named(node, error) from error


def _named(node: str, error: BaseException) -> UserError:
    if isinstance(error, UserError):
        return error
    if not node:
        return UserError(str(error))
    return UserError(f"{node}.{error}" if isinstance(error, ArgumentError) else f"{node}: {error}")


def _locate(target: str) -> Any:
    module, _, attribute = target.rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute, None)
    except (ImportError, ValueError):
        return None


def _parameters(target: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(target).parameters.values())
    except ValueError:  # a builtin has none, and says itself what it does not take
        return []


def _check_keys(name: str, node: Config, parameters: list[inspect.Parameter], given: Config) -> None:
    if not parameters or any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    known = {parameter.name for parameter in parameters} - set(given)
    keys = {str(key) for key in node if not str(key).startswith("_")}
    for key in sorted(keys - known):
        raise UnknownKeyError(name, key, known)
    needed = {parameter.name for parameter in parameters if parameter.default is parameter.empty}
    for key in sorted(needed & known - keys):
        raise UserError(f"{name} needs the key {key!r}, which {node['_target_']} takes and the config does not give")


def _kinds(parameter: inspect.Parameter) -> set[str]:
    """The words of its annotation."""
    return set(re.findall(r"\w+", inspect.formatannotation(parameter.annotation))) - {"typing", "Optional"}


def _real(node: Config, parameters: list[inspect.Parameter]) -> dict[str, float]:
    """The whole numbers of parameters that are real ones; 1 and 0.5 of a sweep are then alike."""
    given = {parameter.name: node.get(parameter.name) for parameter in parameters if _kinds(parameter) == {"float"}}
    return {name: float(value) for name, value in given.items() if type(value) is int}


def _check_types(name: str, node: Config, parameters: list[inspect.Parameter]) -> None:
    """Raise UserError for a value that is plainly none of what its parameter is annotated with; torch checks few."""
    for parameter in parameters:
        kinds = _kinds(parameter)
        value = node.get(parameter.name, parameter.default)
        if parameter.name not in node or (value is None and "None" in kinds | {str(parameter.default)}):
            continue
        if "bool" in kinds and kinds <= {"bool", "None"} and not isinstance(value, bool):
            raise UserError(f"{name}.{parameter.name} must be true or false, got {value!r}")
        if "float" in kinds and kinds <= {"float", "int", "None", "torch", "Tensor"} and not is_number(value):
            raise UserError(f"{name}.{parameter.name} must be a finite number, got {one_line(repr(value), 80)}")

"""The override that a person may have meant whose key no config has."""

import shlex
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from string import digits
from typing import Any

import yaml

from vaelab.cli.config_files import ConfigFile, ConfigFiles
from vaelab.errors import command

# What papers and other frameworks call a key, where the name itself is not near ours.
ALSO_CALLED = {
    "learning_rate": "optimizer.lr",
    "bs": "trainer.batch_size",
    "kl_weight": "objective.beta",
    "latent_size": "latent.dim",
    "data_dir": "dataset.root",
}
GROUPS_OF_HYDRA = ("launcher", "sweeper")  # the keys of its help and its logs would be near to much
PACKAGE = "# @package"  # a file that begins so has its keys elsewhere, where another file has them too


def did_you_mean(key: str, value: str | None, files: ConfigFiles) -> str:
    """`; did you mean trainer.epochs=5?`, or where all keys are listed if none is near.

    Args:
        key: what no config has, such as `epochs` or `trainer.epohcs`.
        value: of the override, as it was written; None where none was.
        files: all options of which are searched.
    """
    found = [path for path in meant(key, paths(files)) if path != key]
    near = [path if value is None else shlex.quote(f"{path}={value}") for path in found]
    if near:
        return f"; did you mean {' or '.join(near)}?"
    return f"; {command('--cfg', 'hydra' if key.startswith('hydra.') else 'job')} lists all keys"


def options_with(key: str, files: ConfigFiles) -> list[str]:
    """The options that have the key, such as `optimizer=sgd` for `optimizer.momentum`."""
    return [f"{file.group.as_posix()}={file.path.stem}" for file in files if key in _paths_of(file)]


def key_of_number(group: str, option: str, files: ConfigFiles) -> str:
    """`; did you mean latent.dim=3?` for `latent=d3`, as `latent=d2` sets nothing but dim: 2; else nothing."""
    prefix = option.rstrip(digits)
    number = option.removeprefix(prefix).lstrip("0")
    for file in files if number else ():
        content = content_of(file.path.read_text()) if file.group == Path(group) else None
        for key, value in content.items() if isinstance(content, dict) and len(content) == 1 else ():
            if file.path.stem == f"{prefix}{value}":
                return f"; did you mean {group}.{key}={number}?"
    return ""


def paths(files: ConfigFiles) -> list[str]:
    """Every key that a config can have, dotted, and the names of the groups."""
    top = yaml.safe_load((files.folders[0] / "config.yaml").read_text()).keys() - {"defaults"}
    return sorted(files.groups.union(top, *map(_paths_of, files)) - {"hydra"})


def meant(key: str, known: Iterable[str]) -> list[str]:
    """At most two of the `known` keys: those of the same last name, else of that meaning, else near ones."""
    parent, _, leaf = key.rpartition(".")
    by_leaf: dict[str, list[str]] = {}
    for path in known:
        by_leaf.setdefault(path.rpartition(".")[2], []).append(path)
    siblings = {path.rpartition(".")[2]: [path] for path in known if path.rpartition(".")[0] == parent}
    ours = {name: found for name, found in by_leaf.items() if not found[0].startswith("hydra.")}
    found = (
        by_leaf.get(leaf)
        or [path for path in known if path.replace(".", "_") == key.replace(".", "_")]
        or [path for path in known if path == ALSO_CALLED.get(leaf)]
        or _near(leaf, siblings)
        or _near(leaf, ours)
    )
    of_near_parent = [path for path in found if get_close_matches(parent, [path.rpartition(".")[0]])]
    return (of_near_parent or found)[:2]


def _near(leaf: str, paths_by_leaf: Mapping[str, list[str]]) -> list[str]:
    return [path for near in get_close_matches(leaf, paths_by_leaf, n=2) for path in paths_by_leaf[near]]


def _paths_of(file: ConfigFile) -> set[str]:
    """The dotted keys of one option of a group."""
    group, text = file.group.parts, file.path.read_text()
    foreign = group[:1] == ("hydra",) and group[1] not in GROUPS_OF_HYDRA
    if not group or foreign or text.startswith(PACKAGE):
        return set()
    return {".".join((*group, *path)) for path in _leaves(content_of(text))}


def _leaves(node: Any) -> Iterator[tuple[str, ...]]:
    for key, value in node.items() if isinstance(node, dict) else ():
        if key == "defaults" or str(key).startswith("_"):
            continue
        yield (str(key),)
        yield from ((str(key), *inner) for inner in _leaves(value))


def content_of(text: str) -> Any:
    """What a YAML file holds; nothing of one that cannot be read, which Hydra says where it is used."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return None

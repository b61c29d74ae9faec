"""`config.yaml` of a run directory, with a checksum beside it.

A run directory may be untrusted, or damaged, so that what is read is bounded, plain and of the form of a config.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from vaelab.errors import UserError, in_shell, one_line
from vaelab.files import folder, plain_yaml, sidecar

PARTS = (
    "model",
    "dataset",
    "latent",
    "posterior",
    "prior",
    "conditional",
    "likelihood",
    "objective",
    "optimizer",
    "scheduler",
    "trainer",
    "logger",
)
KEYS = (*PARTS, "seed", "resume", "trust", "choices")
CONFIG = "config.yaml"


def write_config(run_dir: Path, config: Mapping[str, Any]) -> None:
    """Write the config of a run, and its checksum.

    A process killed on the way leaves a config without a checksum, which is read all the same.

    Raises:
        UserError: if it could not be read again; nothing is then written.
        OSError: if it cannot be written.
    """
    content = _as_yaml(config)
    folder.remove(run_dir, sidecar.name_of(CONFIG))
    folder.write(run_dir, CONFIG, content)
    sidecar.write_digest(run_dir, CONFIG, sidecar.digest_of(content))


def read_config(run_dir: Path) -> dict[str, Any]:
    """The config of a run, plain values.

    Raises:
        UserError: if there is none, it cannot be read, is not what was written, or is no config.
    """
    path = run_dir / CONFIG
    try:
        content = folder.read(run_dir, CONFIG, plain_yaml.LARGEST)
        written = sidecar.read_digest(run_dir, CONFIG)
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing; name the directory of a run") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); name the directory of a run") from error
    if written not in (None, sidecar.digest_of(content)):
        raise UserError(
            f"{path} was changed or damaged since it was written; restore it from a copy, or, to accept it as it is: "
            f"rm {in_shell(str(run_dir / sidecar.name_of(CONFIG)))}"
        )
    try:
        config = plain_yaml.load(content)
        _check(config)
    except ValueError as error:
        raise UserError(f"{path} {error}; mend the file, or restore it from a copy") from error
    return config


def _as_yaml(config: Mapping[str, Any]) -> bytes:
    try:
        content = yaml.safe_dump(dict(config), sort_keys=False).encode()
        again = plain_yaml.load(content)
        _check(again)
        same = yaml.safe_dump(again, sort_keys=False).encode() == content
    except (ValueError, yaml.YAMLError) as error:
        raise UserError(f"the config {one_line(error, 300)}; change that setting") from error
    if not same:
        raise UserError("the config must be one that YAML can hold, got values that are read back as others")
    return content


def _check(config: Any) -> None:
    """Raise ValueError, in words that follow the name of a file, unless it has the form of a config."""
    if not isinstance(config, dict):
        raise ValueError(f"must hold the keys of a config, got {one_line(repr(config), 80)}")
    if "${" in json.dumps(config):  # the values, for YAML can write a $ in other ways
        raise ValueError("must hold plain values, got an interpolation, ${...}")
    unknown = [one_line(repr(key), 40) for key in sorted(config.keys() - set(KEYS))]
    if unknown:
        # above all no `hydra`, whose callbacks would run code
        raise ValueError(f"may hold {', '.join(KEYS)}, got {one_line(', '.join(unknown), 200)}")
    for name in PARTS:
        if not isinstance(config.get(name, {}), dict):
            raise ValueError(f"must hold a mapping as {name}, got {one_line(repr(config[name]), 80)}")
    choices = config.get("choices", {})
    if not isinstance(choices, dict) or not all(isinstance(option, str | list) for option in choices.values()):
        raise ValueError(f"must hold the names of options as choices, got {one_line(repr(choices), 80)}")

"""What a sweep was asked for, from the `multirun.yaml` that it begins with: its jobs, and what differs between them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override

from vaelab.labels import rounded


@dataclass(frozen=True)
class Asked:
    """The jobs of a whole sweep.

    Args:
        count: how many there are.
        overrides: of each, by its number; empty where a search draws them, or chance orders them.
    """

    count: int
    overrides: list[list[str]]


def asked_for(sweep_dir: Path) -> Asked | None:
    """What a sweep was asked for; None where its sweeper does not say."""
    hydra = _hydra(sweep_dir)
    if hydra is None:
        return None
    sweeper, latest = hydra["sweeper"], _latest(hydra)
    varied = [override for override in latest.values() if override.is_sweep_override()]
    if "n_trials" in sweeper:
        count = sweeper["n_trials"]
        if (sweeper.get("sampler") or {}).get("_target_", "").endswith(".GridSampler"):
            count = min(count, math.prod(sum(1 for _ in override.sweep_iterator()) for override in varied))
        return Asked(count, [])
    if not sweeper["_target_"].endswith(".BasicSweeper") or any(isinstance(each.value(), Glob) for each in varied):
        return None
    jobs = [list(overrides) for overrides in product(*map(_values, latest.values()))]
    return Asked(len(jobs), [] if any(each.value().shuffle for each in varied) else jobs)


def name_of_job(sweep_dir: Path, number: int | str, overrides: list[str]) -> str:
    """What a job is called: its overrides that differ between the jobs of its sweep, with rounded numbers."""
    hydra = _hydra(sweep_dir)
    if hydra is not None:  # not every sweeper writes what it was asked for
        keys = {key for key, override in _latest(hydra).items() if override.is_sweep_override()}
        overrides = [override for override in overrides if override.split("=")[0] in keys]
    return rounded(",".join(overrides)) or f"job {number}"


def _hydra(sweep_dir: Path) -> dict[str, Any] | None:
    try:
        return yaml.safe_load((sweep_dir / "multirun.yaml").read_text())["hydra"]
    except (OSError, yaml.YAMLError, TypeError, KeyError):  # none, or cut off as it was written
        return None


def _latest(hydra: Mapping[str, Any]) -> dict[str, Override]:
    """The overrides of all jobs by key; of two for one key the later wins."""
    params = (hydra["sweeper"].get("params") or {}).items()
    whole = [*(f"{key}={value}" for key, value in params), *hydra["overrides"]["task"]]
    return {override.get_key_element(): override for override in OverridesParser.create().parse_overrides(whole)}


def _values(override: Override) -> list[str]:
    if not override.is_sweep_override():
        return [str(override.input_line)]
    return [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]

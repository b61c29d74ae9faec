"""Config of a run that is resumed, on whatever machine, by itself or as a job of a sweep."""

import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from vaelab.errors import UserError
from vaelab.run.record import RunRecord
from vaelab.run.saved import read_config

log = logging.getLogger(__name__)


def resumed_config(
    run_dir: Path, config: Mapping[str, Any], overrides: list[str]
) -> tuple[Mapping[str, Any], list[str] | None]:
    """The config with which the run in the directory of a job is resumed, and packages whose code it may name.

    Args:
        run_dir: of the job.
        config: of the job, as its command composes it now.
        overrides: of the job.

    Raises:
        UserError: if the run there is none of this job's, or its config cannot be read.
    """
    saved = _saved_for(run_dir, config)
    if _are_same(saved, config):
        return config, None
    if without_trust(RunRecord(run_dir).summary.get("overrides", ())) == without_trust(overrides):
        log.warning("the config files have changed since this run began; it goes on with those of its beginning")
        return saved, list(config["trust"])
    raise UserError(f"{run_dir} holds a run with other settings already; choose another directory for this sweep")


def merit_of_before(run_dir: Path, config: Mapping[str, Any]) -> float | None:
    """The figure of merit of the run of a directory, if it has ended well and has this config; else None.

    Raises:
        UserError: if the config of that run cannot be read.
    """
    return RunRecord(run_dir).merit if _are_same(_saved_for(run_dir, config), config) else None


def on_this_machine(saved: Mapping[str, Any]) -> Mapping[str, Any]:
    """The saved config of a run with its dataset where this machine has it: in $VAELAB_DATA, where that is set."""
    root = os.environ.get("VAELAB_DATA")
    return with_root(saved, root) if root else saved


def with_root(saved: Mapping[str, Any], root: str) -> Mapping[str, Any]:
    """A saved config with another folder of the datasets, if its dataset lies in one."""
    dataset = saved.get("dataset")
    if not isinstance(dataset, Mapping) or "root" not in dataset:
        return saved
    return {**saved, "dataset": {**dataset, "root": root}}


def _saved_for(run_dir: Path, config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The config of a run directory, with its dataset where another config has it."""
    saved = read_config(run_dir)
    root = config.get("dataset", {}).get("root")
    return saved if root is None else with_root(saved, root)


def _are_same(saved: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    """Whether two configs are of the same run, however it was resumed."""
    own = {"resume": None, "trust": None}
    return {**saved, **own} == {**config, **own}


def names_root(overrides: Iterable[str]) -> bool:
    """Whether the person, and no saved config, says where datasets lie: by $VAELAB_DATA or on the command line."""
    given = (override.lstrip("+").partition("=")[0] for override in overrides)
    return bool(os.environ.get("VAELAB_DATA")) or "dataset.root" in given


def without_trust(overrides: Iterable[str]) -> list[str]:
    """The overrides but for `trust`, which may be given later, for what is resumed."""
    return [override for override in overrides if not override.startswith("trust=")]

"""The plan of a sweep, from the `multirun.yaml` that it begins with: its jobs, and what differs between them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, RangeSweep
from hydra.errors import HydraException

from vaelab.errors import UserError, one_line
from vaelab.files import folder, plain_yaml
from vaelab.run.labels import rounded

MULTIRUN = "multirun.yaml"
GRIDS = (".GridSweeper", ".BasicSweeper")  # vaelab's sweeper of all combinations, and Hydra's
MOST_JOBS = 10_000  # whose overrides are listed
LONGEST_OVERRIDES = 20_000  # letters


@dataclass(frozen=True)
class SweepPlan:
    """The contents of `multirun.yaml`.

    Args:
        sweeper: its config.
        task: the overrides of the command line.
        latest: the overrides of all jobs by key; of two for one key the later.
    """

    sweeper: Mapping[str, Any]
    task: list[str]
    latest: Mapping[str, Override]

    @property
    def varied(self) -> dict[str, Override]:
        """The overrides that give more than one value, by key."""
        return {key: override for key, override in self.latest.items() if override.is_sweep_override()}


@dataclass(frozen=True)
class PlannedJobs:
    """The jobs of a whole sweep, those that have not begun among them.

    Args:
        count: how many there are.
        overrides: of each, by its number; empty where a search draws them, or chance orders them.
    """

    count: int
    overrides: list[list[str]]


def read_plan(sweep_dir: Path) -> SweepPlan | None:
    """The plan of a sweep; None without a `multirun.yaml`, which not every sweeper writes.

    Raises:
        UserError: if it is damaged, as one that was cut off while it was written.
        OSError: if it cannot be read.
    """
    try:
        found = plain_yaml.load(folder.read(sweep_dir, MULTIRUN, plain_yaml.LARGEST))
        sweeper, task = found["hydra"]["sweeper"], found["hydra"]["overrides"]["task"]
        params = sweeper.get("params") or {}
        if not isinstance(sweeper["_target_"], str) or not all(isinstance(given, str) for given in task):
            raise TypeError("no texts")
        return SweepPlan(sweeper, task, _latest([*(f"{key}={value}" for key, value in params.items()), *task]))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, HydraException) as error:
        reason = f" ({one_line(error, 200)})" if isinstance(error, ValueError | HydraException) else ""
        raise UserError(f"{sweep_dir / MULTIRUN} does not hold what a sweep began with{reason}") from error


def planned_jobs(sweep_dir: Path) -> PlannedJobs | None:
    """The jobs of a sweep; None where its plan does not say."""
    plan = _plan(sweep_dir)
    if plan is None:
        return None
    counts = [_count(override) for override in plan.varied.values()]
    known = math.prod(count for count in counts if count is not None)
    trials = plan.sweeper.get("n_trials")
    if isinstance(trials, int):
        return PlannedJobs(min(trials, known) if _is_grid(plan.sweeper) else trials, [])
    if not plan.sweeper["_target_"].endswith(GRIDS) or None in counts:
        return None
    if known > MOST_JOBS or any(override.value().shuffle for override in plan.varied.values()):
        return PlannedJobs(known, [])
    jobs = [list(overrides) for overrides in product(*map(_values, plan.latest.values()))]
    return PlannedJobs(len(jobs), jobs)


def name_of_job(sweep_dir: Path, number: int | str, overrides: list[str]) -> str:
    """The name of a job: its overrides that differ between the jobs of its sweep, with rounded numbers."""
    return names_of_jobs(sweep_dir, {str(number): overrides})[str(number)]


def names_of_jobs(sweep_dir: Path, jobs: Mapping[str, list[str]]) -> dict[str, str]:
    """The names of the jobs of a sweep by their numbers, from their overrides."""
    plan = _plan(sweep_dir)
    varied = None if plan is None else plan.varied
    names = {}
    for number, overrides in jobs.items():
        differing = [given for given in overrides if varied is None or given.split("=")[0] in varied]
        names[number] = rounded(",".join(differing)) or f"job {number}"
    return names


def _plan(sweep_dir: Path) -> SweepPlan | None:
    try:
        return read_plan(sweep_dir)
    except (OSError, UserError):
        return None


def _is_grid(sweeper: Mapping[str, Any]) -> bool:
    sampler = sweeper.get("sampler")
    return isinstance(sampler, dict) and str(sampler.get("_target_")).endswith(".GridSampler")


def _latest(overrides: Sequence[str]) -> dict[str, Override]:
    length = sum(map(len, overrides))
    if length > LONGEST_OVERRIDES:  # they would take minutes to parse
        raise ValueError(f"overrides of {length:,} letters, more than {LONGEST_OVERRIDES:,}")
    return {override.get_key_element(): override for override in OverridesParser.create().parse_overrides([*overrides])}


def _count(override: Override) -> int | None:
    """The number of values of an override; None for one whose values are drawn or looked up."""
    value = override.value()
    if not isinstance(value, RangeSweep):
        return len(value.list) if isinstance(value, ChoiceSweep) else None
    try:
        count = (value.stop - value.start) / value.step
        return int(count) if count > MOST_JOBS else sum(1 for _ in value.range())
    except (ArithmeticError, ValueError):  # no step, or one to infinity
        return None


def _values(override: Override) -> list[str]:
    if not override.is_sweep_override():
        return [str(override.input_line)]
    return [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]

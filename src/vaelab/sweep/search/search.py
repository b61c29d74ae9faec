"""A search with Optuna: it draws trials, is told their values, and goes on where it was interrupted.

The study in the database is its whole state; what became of a trial is in the run directory of the same number.
"""

import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.pruners import BasePruner
from optuna.samplers import RandomSampler
from optuna.storages._rdb.models import BaseModel
from optuna.trial import FrozenTrial, TrialState

from vaelab.errors import UserError
from vaelab.run.record import RunRecord
from vaelab.run.summary import PRUNED
from vaelab.sweep.search.pruning import open_storage, storage_url
from vaelab.sweep.search.sampling import Sampling
from vaelab.sweep.search.study import check_study, understood

log = logging.getLogger(__name__)

ASKED = "asked"  # the study's attribute with what was searched for


class Search:
    """A search in a sweep's directory, where trial N is job N in the folder N.

    Args:
        directory: of the sweep, which exists.
        space: what is varied.
        fixed: overrides of every trial.
        objectives: directions, `minimize` or `maximize`, by the name of a metric of `summary.json`.
        sampling: how trials are drawn.
        pruner: by which trials are given up, or None.
        storage: URL of the database; None for a file in the directory.
        study_name: in the database.

    Raises:
        UserError: if the study was begun with something else.
    """

    def __init__(
        self,
        directory: Path,
        space: Mapping[str, BaseDistribution],
        fixed: Sequence[str],
        objectives: Mapping[str, str],
        sampling: Sampling,
        pruner: BasePruner | None,
        storage: str | None,
        study_name: str,
    ) -> None:
        self.directory = directory
        self.space = dict(space)
        self.fixed = list(fixed)
        self.objectives = dict(objectives)
        self._sampling = sampling
        self._place = storage or directory / "study.db"
        if storage is None:
            check_study(directory / "study.db", BaseModel.metadata.tables.values())
        with understood(self._place):
            self.study = optuna.create_study(
                storage=open_storage(storage_url(storage, directory)),
                study_name=study_name,
                directions=list(objectives.values()),
                pruner=pruner or optuna.pruners.NopPruner(),
                load_if_exists=True,
            )
        asked = {
            "variables": {name: json.loads(distribution_to_json(values)) for name, values in space.items()},
            "fixed overrides": list(fixed),
            "objectives": self.objectives,
            # a folder with its own database may be moved; two folders cannot share a study
            "directory": str(directory.resolve()) if storage else None,
        }
        with understood(self._place):
            self._require_same(json.loads(json.dumps(asked)), study_name)

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials, those that have not ended among them."""
        return self.study.get_trials(deepcopy=False)

    def batches(self, size: int, n_trials: int) -> Iterator[list[FrozenTrial]]:
        """Trials with consecutive numbers, to be run and told before the next batch is asked for.

        First those that were interrupted, under their numbers, then new ones.

        Args:
            size: the most trials in a batch.
            n_trials: in all, those of before counted; a grid may have fewer.
        """
        yield from _neighbours(self._interrupted(), size)
        if self._sampling.grid is not None:
            points = math.prod(map(len, self._sampling.grid.values()))
            if points > n_trials:
                log.info("%d of the grid's %d points; for all: hydra.sweeper.n_trials=%d", n_trials, points, points)
            n_trials = min(n_trials, points)
        while (left := n_trials - len(self.trials)) > 0:
            yield [self._draw() for _ in range(min(size, left))]

    def tell(self, number: int, ended_well: bool) -> None:
        """Record how a trial ended, as its `summary.json` tells, and say so in one line.

        Raises:
            UserError: if the study cannot be written.
        """
        with understood(self._place):
            self._tell(number, ended_well)

    def _tell(self, number: int, ended_well: bool) -> None:
        record = RunRecord(self.directory / str(number))
        # after a trial a grid's sampler would stop a loop that is not there
        self.study.sampler = RandomSampler()
        if ended_well and record.status == PRUNED:
            self.study.tell(number, state=TrialState.PRUNED)
            log.info("trial %d: pruned%s", number, self._so_far())
            return
        values, why = self._values(ended_well, record.summary)
        if why:
            self.study.tell(number, state=TrialState.FAIL)
            log.info("trial %d: failed, %s%s", number, why, self._so_far())
        else:
            self.study.tell(number, values)
            found = ", ".join(f"{name} {value:.2f}" for name, value in zip(self.objectives, values, strict=True))
            log.info("trial %d: %s%s", number, found, self._so_far())

    def count(self, state: TrialState) -> int:
        """How many trials are in that state."""
        return sum(trial.state == state for trial in self.trials)

    @property
    def best(self) -> list[FrozenTrial]:
        """The best trial, or for several objectives those that no other beats in all; empty before one is complete."""
        if len(self.objectives) > 1:
            return sorted(self.study.best_trials, key=lambda trial: trial.number)
        return [self.study.best_trial] if self.count(TrialState.COMPLETE) else []

    def _require_same(self, asked: Mapping[str, Any], study_name: str) -> None:
        begun = self.study.user_attrs.get(ASKED)
        if begun is None and not self.trials:
            self.study.set_user_attr(ASKED, asked)
            return
        known = begun if isinstance(begun, dict) else {}
        differing = [name for name, value in asked.items() if name not in known or known[name] != value]
        directions = [direction.name.lower() for direction in self.study.directions]
        if directions != list(self.objectives.values()) and "objectives" not in differing:
            differing.append("objectives")
        odd = [trial.number for trial in self.trials if not trial.distributions.items() <= self.space.items()]
        if odd and not differing:  # what was not asked for would become an override, and a command to run again
            raise UserError(
                f"the study {study_name!r} of {self.directory} holds the trial {odd[0]}, which was not drawn from what "
                f"is searched for; restore it from a copy, or begin a new search in another directory"
            )
        if differing:
            raise UserError(
                f"the study {study_name!r} of {self.directory} was begun with other {' and '.join(differing)}; give "
                f"the same as then, or choose another directory, or in a shared database hydra.sweeper.study_name"
            )

    def _interrupted(self) -> list[FrozenTrial]:
        """Trials that were begun and have not ended; those that were not drawn to the end are failed ones."""
        running = [trial for trial in self.trials if trial.state == TrialState.RUNNING]
        # a choice that was not asked for would become an override all the same
        whole = [trial for trial in running if trial.distributions == self.space]
        for trial in running:
            if trial not in whole:
                self.tell(trial.number, ended_well=False)
        return whole

    def _draw(self) -> FrozenTrial:
        with understood(self._place):
            self.study.sampler = self._sampling.sampler(len(self.trials))
            number = self.study.ask(self.space).number
            return self.trials[number]

    def _values(self, ended_well: bool, summary: Mapping[str, Any]) -> tuple[list[float], str]:
        """The values of a trial, or why there are none."""
        if not ended_well:
            return [], summary.get("error") or "its job left no word"
        found = summary.get("metrics", {})
        missing = [name for name in self.objectives if name not in found]
        if missing:
            return [], f"its summary.json has no {missing[0]}, only {', '.join(sorted(found))}"
        values = [found[name] for name in self.objectives]
        finite = all(isinstance(value, int | float) and math.isfinite(value) for value in values)
        return (values, "") if finite else ([], f"its value must be a finite number, got {values}")

    def _so_far(self) -> str:
        best = self.best
        if not best:
            return ""
        if len(self.objectives) > 1:
            return f" ({len(best)} on the Pareto front)"
        return f" (best {best[0].values[0]:.2f}, trial {best[0].number})"


def _neighbours(trials: Sequence[FrozenTrial], size: int) -> Iterator[list[FrozenTrial]]:
    """The trials in groups of consecutive numbers, at most `size` in each."""
    group: list[FrozenTrial] = []
    for trial in trials:
        if group and (len(group) == size or trial.number != group[-1].number + 1):
            yield group
            group = []
        group.append(trial)
    if group:
        yield group

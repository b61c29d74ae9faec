"""A search with Optuna: it draws trials, is told their values, and goes on where it was interrupted.

The study in the database is its whole state; what became of a trial is in the run directory of the same number.
"""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from optuna import Study
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, TrialState

from vaelab.errors import UserError
from vaelab.run.record import RunRecord
from vaelab.run.summary import PRUNED
from vaelab.sweep.search.database import database_errors
from vaelab.sweep.search.problem import Problem
from vaelab.sweep.search.sampling import Sampling

log = logging.getLogger(__name__)


class Search:
    """A search in a sweep's directory, where trial N is job N in the folder N.

    Args:
        directory: of the sweep, which exists.
        problem: what is varied, and for what.
        study: of the same problem.
        sampling: how trials are drawn.
    """

    def __init__(self, directory: Path, problem: Problem, study: Study, sampling: Sampling) -> None:
        self.directory = directory
        self.problem = problem
        self.study = study
        self._sampling = sampling

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
        record = RunRecord(self.directory / str(number))
        values: list[float] | None = None
        if ended_well and record.status == PRUNED:
            state, words = TrialState.PRUNED, "pruned"
        elif reason := self._failure(ended_well, record.summary):
            state, words = TrialState.FAIL, f"failed, {reason}"
        else:
            measured = {name: record.summary["metrics"][name] for name in self.problem.objectives}
            state, values = TrialState.COMPLETE, list(measured.values())
            words = ", ".join(f"{name} {value:.2f}" for name, value in measured.items())
        with database_errors(self.directory):
            self.study.sampler = RandomSampler()  # after a trial a grid's would stop a loop that is not there
            self.study.tell(number, values, state)
            log.info("trial %d: %s%s", number, words, self._so_far())

    def count(self, state: TrialState) -> int:
        """How many trials are in that state."""
        return sum(trial.state == state for trial in self.trials)

    def require_success(self, max_failure_rate: float, n_trials: int) -> None:
        """Raise UserError if more than that share of so many trials has failed."""
        failed = self.count(TrialState.FAIL)
        if failed > max_failure_rate * n_trials:
            raise UserError(
                f"{failed} trials failed, more than hydra.sweeper.max_failure_rate={max_failure_rate:g} of {n_trials} "
                f"allows; their summary.json says why"
            )

    @property
    def best(self) -> list[FrozenTrial]:
        """The best trial, or for several objectives those that no other beats in all; empty before one is complete."""
        if len(self.problem.objectives) > 1:
            return sorted(self.study.best_trials, key=lambda trial: trial.number)
        return [self.study.best_trial] if self.count(TrialState.COMPLETE) else []

    def _interrupted(self) -> list[FrozenTrial]:
        """Trials that were begun and have not ended; those that were not drawn to the end are failed ones."""
        running = [trial for trial in self.trials if trial.state == TrialState.RUNNING]
        # a choice that was not asked for would become an override all the same
        whole = [trial for trial in running if trial.distributions == self.problem.space]
        for trial in running:
            if trial not in whole:
                self.tell(trial.number, ended_well=False)
        return whole

    def _draw(self) -> FrozenTrial:
        with database_errors(self.directory):
            self.study.sampler = self._sampling.sampler(len(self.trials))
            number = self.study.ask(self.problem.space).number
            return self.trials[number]

    def _failure(self, ended_well: bool, summary: Mapping[str, Any]) -> str | None:
        """The reason why a trial has no values; None if it has."""
        if not ended_well:
            return summary.get("error") or "its job left no word"
        found = summary.get("metrics", {})
        missing = [name for name in self.problem.objectives if name not in found]
        if missing:
            return f"its summary.json has no {missing[0]}, only {', '.join(sorted(found))}"
        values = [found[name] for name in self.problem.objectives]
        finite = all(isinstance(value, int | float) and math.isfinite(value) for value in values)
        return None if finite else f"its value must be a finite number, got {values}"

    def _so_far(self) -> str:
        best = self.best
        if not best:
            return ""
        if len(self.problem.objectives) > 1:
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

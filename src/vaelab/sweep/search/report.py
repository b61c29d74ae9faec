"""What a search leaves beside the report of its sweep: `best.yaml`, the history and the importances as pictures."""

import logging
import warnings
from collections.abc import Sequence
from typing import Any

import yaml
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

from vaelab.errors import command
from vaelab.files import folder
from vaelab.sweep.search.search import Search

log = logging.getLogger(__name__)


def write_best(search: Search, flags: Sequence[str] = ()) -> None:
    """Write `best.yaml`: the best trial, or the Pareto front of several objectives; nothing before one is complete.

    Args:
        search: whose trials they are.
        flags: of its command line, which the command that runs a trial again needs too.
    """
    entries = [_entry(search, trial, flags) for trial in search.best]
    if entries:
        content = {"pareto_front": entries} if len(search.problem.objectives) > 1 else entries[0]
        text = yaml.safe_dump({"objectives": search.problem.objectives, **content}, sort_keys=False, width=1000)
        folder.write(search.directory, "best.yaml", text.encode())


def write_pictures(search: Search) -> None:
    """Draw `optimization_history.png` and, where the trials tell any, `param_importances.png`."""
    from vaelab.sweep.search.figures import save_importances, save_search_history  # imports torch

    complete = [trial for trial in search.trials if trial.state == TrialState.COMPLETE]
    pruned = [trial for trial in search.trials if trial.state == TrialState.PRUNED]
    values = {
        name: [(trial.number, trial.values[index]) for trial in complete]
        for index, name in enumerate(search.problem.objectives)
    }
    given_up = [(trial.number, trial.values[0]) for trial in pruned if trial.values]
    if complete or given_up:
        title = f"search {search.directory.name}: {len(complete)} trials finished, {len(pruned)} pruned"
        path = search.directory / "optimization_history.png"
        save_search_history(path, values, search.problem.objectives, given_up, title)
    importances = {name: _importances(search, index) for index, name in enumerate(search.problem.objectives)}
    if len(complete) > len(search.problem.space) and all(importances.values()):  # fewer trials tell of chance only
        path = search.directory / "param_importances.png"
        save_importances(path, importances, f"search {search.directory.name}: importances (fANOVA)")


def _entry(search: Search, trial: FrozenTrial, flags: Sequence[str]) -> dict[str, Any]:
    overrides = search.problem.overrides(trial.params)
    return {
        "trial": trial.number,
        "values": dict(zip(search.problem.objectives, trial.values, strict=True)),
        "directory": str(search.directory / str(trial.number)),
        "overrides": overrides,
        "command": command(*flags, *overrides),
    }


def _importances(search: Search, objective: int) -> dict[str, float]:
    """The share of each variable in an objective's variance; empty for too few trials, or if all reached the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that an interface is experimental, that a variable has one value
        try:
            return get_param_importances(
                search.study,
                evaluator=FanovaImportanceEvaluator(seed=0),
                target=lambda trial: trial.values[objective],
            )
        except (RuntimeError, ValueError) as error:
            log.debug("no importances: %s", error)
            return {}

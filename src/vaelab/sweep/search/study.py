"""The study of a search: its whole state, in a database, for one problem and one directory."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import distribution_to_json
from optuna.pruners import BasePruner

from vaelab.errors import UserError
from vaelab.sweep.search.database import check_database, database_errors
from vaelab.sweep.search.problem import Problem
from vaelab.sweep.search.storage import DATABASE, open_storage, storage_url

PROBLEM = "problem"  # the study's attribute with what is searched for


def open_study(
    problem: Problem, directory: Path, storage: str | None, study_name: str, pruner: BasePruner | None
) -> optuna.Study:
    """The study of that name; a new one where there is none yet.

    Args:
        problem: of the search.
        directory: of the sweep, which exists.
        storage: URL of the database; None for a file in the directory.
        study_name: in the database.
        pruner: by which trials are given up, or None.

    Raises:
        UserError: if the study was begun for another problem, or the database is damaged.
    """
    if storage is None:
        check_database(directory / DATABASE)
    with database_errors(storage or directory / DATABASE):
        study = optuna.create_study(
            storage=open_storage(storage_url(storage, directory)),
            study_name=study_name,
            directions=list(problem.objectives.values()),
            pruner=pruner or optuna.pruners.NopPruner(),
            load_if_exists=True,
        )
        # a folder with its own database may be moved; two folders cannot share a study
        _require_same(study, problem, directory, str(directory.resolve()) if storage else None)
    return study


def _require_same(study: optuna.Study, problem: Problem, directory: Path, owner: str | None) -> None:
    wanted = _described(problem, owner)
    found = study.user_attrs.get(PROBLEM)
    trials = study.get_trials(deepcopy=False)
    if found is None and not trials:
        study.set_user_attr(PROBLEM, wanted)
        return
    known = found if isinstance(found, dict) else {}
    differing = [name for name, value in wanted.items() if name not in known or known[name] != value]
    directions = [direction.name.lower() for direction in study.directions]
    if directions != list(problem.objectives.values()) and "objectives" not in differing:
        differing.append("objectives")
    if differing:
        raise UserError(
            f"the study {study.study_name!r} of {directory} was begun with other {' and '.join(differing)}; give "
            f"the same as then, or choose another directory, or in a shared database hydra.sweeper.study_name"
        )
    odd = [trial.number for trial in trials if not trial.distributions.items() <= problem.space.items()]
    if odd:  # what was not drawn from the space would become an override, and a command to run again
        raise UserError(
            f"the study {study.study_name!r} of {directory} holds the trial {odd[0]}, which was not drawn from what "
            f"is searched for; restore it from a copy, or begin a new search in another directory"
        )


def _described(problem: Problem, owner: str | None) -> Mapping[str, Any]:
    described = {
        "variables": {name: json.loads(distribution_to_json(values)) for name, values in problem.space.items()},
        "fixed overrides": problem.fixed,
        "objectives": dict(problem.objectives),
        "directory": owner,
    }
    return json.loads(json.dumps(described))

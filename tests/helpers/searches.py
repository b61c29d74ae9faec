"""Searches in a folder, without a sweep."""

import sqlite3
from contextlib import closing

from optuna.samplers import RandomSampler

from vaelab.sweep.search.problem import Problem
from vaelab.sweep.search.sampling import Sampling
from vaelab.sweep.search.search import Search
from vaelab.sweep.search.study import open_study

LOSS = {"val/loss": "minimize"}


def search_in(
    folder,
    space,
    objectives=LOSS,
    kind=RandomSampler,
    fixed=(),
    *,
    pruner=None,
    storage=None,
    study_name="search",
    **keywords,
):
    """A search that begins in a folder, or goes on there; the keywords are those of the sampler beside its seed."""
    problem = Problem(dict(space), list(fixed), objectives)
    study = open_study(problem, folder, storage, study_name, pruner)
    return Search(folder, problem, study, Sampling(kind, {"seed": 0, **keywords}, space, len(objectives)))


def draw(search, count):
    """Draw and end so many trials of two numbers, x and y; returns the numbers."""
    drawn = []
    for _ in range(count):
        trial = search._draw()
        drawn.append(trial.params)
        search.study.tell(trial.number, trial.params["x"] ** 2 + trial.params["y"] ** 2)
    return drawn


def sql(folder, *statements):
    """Change the study in a folder."""
    with closing(sqlite3.connect(folder / "study.db")) as connection, connection:
        for statement in statements:
            connection.execute(*statement) if isinstance(statement, tuple) else connection.execute(statement)

"""A study that is damaged or a stranger's is one sentence, and nothing in it runs."""

import os
import pickle
import sqlite3
from contextlib import closing

import numpy as np
import optuna
import pytest
from optuna._transform import _SearchSpaceTransform
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.samplers import CmaEsSampler, RandomSampler
from optuna.trial import TrialState

from vaelab.errors import UserError
from vaelab.sweep.search.rebuilt import _rebuilt, rebuilt_from_trials
from vaelab.sweep.search.sampling import Sampling
from vaelab.sweep.search.search import Search

SPACE = {"x": FloatDistribution(-3.0, 3.0), "y": FloatDistribution(-1.0, 5.0)}


def search_in(folder, space=SPACE, kind=RandomSampler, **settings):
    return Search(
        folder,
        space,
        [],
        {"val/loss": "minimize"},
        Sampling(kind, {"seed": 0, **settings}, space, 1),
        *(None,) * 2,
        "s",
    )


def draw(search, count):
    """Draws and ends so many trials; returns their settings."""
    drawn = []
    for _ in range(count):
        trial = search._draw()
        drawn.append(trial.params)
        search.study.tell(trial.number, trial.params["x"] ** 2 + trial.params["y"] ** 2)
    return drawn


def sql(folder, *statements):
    with closing(sqlite3.connect(folder / "study.db")) as connection, connection:
        for statement in statements:
            connection.execute(*statement) if isinstance(statement, tuple) else connection.execute(statement)


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


CMAES = [
    {},
    *(pytest.param(more, marks=pytest.mark.slow) for more in ({"use_separable_cma": True}, {"with_margin": True})),
]


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("settings", CMAES)
def test_cmaes_reads_no_pickle_and_writes_none_and_draws_the_same(settings, tmp_path):
    expected = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        expected.append(draw(search_in(tmp_path / name, kind=CmaEsSampler, **settings), 13))
    assert expected[0] == expected[1]
    attributes = [key for trial in search_in(tmp_path / "one").trials for key in trial.system_attrs]
    assert attributes
    assert not [key for key in attributes if "optimizer" in key]
    bomb = pickle.dumps(Evil(tmp_path / "pwned")).hex()
    for prefix in ("cma", "sepcma", "cmawm"):
        row = (f"{prefix}:optimizer:0", f'"{bomb}"')
        statement = "INSERT INTO trial_system_attributes (trial_id, key, value_json) SELECT trial_id, ?, ? FROM trials"
        sql(tmp_path / "two", (statement, row))
    goes_on = [draw(search_in(tmp_path / name, kind=CmaEsSampler, **settings), 7) for name in ("one", "two")]
    assert goes_on[0] == goes_on[1]
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_the_optimizer_that_is_rebuilt_is_the_one_that_optuna_keeps(direction):
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = CmaEsSampler(seed=0)
    study = optuna.create_study(sampler=sampler, direction=direction)
    while len(study.trials) < 60:
        trial = study.ask(SPACE)
        value = trial.params["x"] ** 2 + trial.params["y"] ** 2
        study.tell(trial, value if trial.number % 7 else None, None if trial.number % 7 else TrialState.FAIL)
    study.ask(SPACE)
    completed = sampler._get_trials(study)
    found = _rebuilt(CmaEsSampler(seed=5), study, SPACE, completed)
    kept = sampler._restore_optimizer(completed)
    while found.generation > kept.generation:  # the last generation is told at the draw
        told = sampler._get_solution_trials(completed, kept.generation)[: kept.population_size]
        transform = _SearchSpaceTransform(SPACE, transform_step=True, transform_0_1=True)
        sign = 1 if direction == "minimize" else -1
        kept.tell([(transform.transform(trial.params), sign * trial.value) for trial in told])
    assert found.generation == kept.generation > 5
    for name in ("_mean", "_C", "_sigma", "_p_sigma", "_pc"):
        np.testing.assert_allclose(getattr(found, name), getattr(kept, name), rtol=1e-9)


def test_cmaes_of_an_optuna_that_works_in_another_way_is_refused():
    sampler = CmaEsSampler(seed=0)

    class Other:
        sample_relative = sampler.sample_relative

    with pytest.raises(UserError, match="works with Optuna"):
        rebuilt_from_trials(Other())


FOR_EVER = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT i FROM n"


def link(folder, path):
    (folder / "elsewhere").write_bytes(path.read_bytes() if path.exists() else b"")
    path.unlink(missing_ok=True)
    path.symlink_to(folder / "elsewhere")


def fifo(folder, path):
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def journal(folder, path):
    """The journal of a process that died in the midst of it and names a file, which SQLite would delete."""
    (folder / "study.db-journal").write_bytes(b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" * 70)


ODD = {
    "a view": lambda folder, path: sql(folder, "DROP TABLE study_user_attributes", f"CREATE VIEW v AS {FOR_EVER}"),
    "a view in a table's place": lambda folder, path: sql(
        folder, "DROP TABLE study_user_attributes", f"CREATE VIEW study_user_attributes AS {FOR_EVER}"
    ),
    "a trigger": lambda folder, path: sql(
        folder, f"CREATE TRIGGER t AFTER INSERT ON trials BEGIN INSERT INTO trials (number) {FOR_EVER}; END"
    ),
    "a constraint that is worked out at each write": lambda folder, path: sql(
        folder,
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_master SET sql = replace(sql, 'number INTEGER', 'number INTEGER CHECK (number < 9)') "
        "WHERE name = 'trials'",
    ),
    "an index that is worked out": lambda folder, path: sql(folder, "CREATE INDEX i ON trials (abs(number))"),
    "another table": lambda folder, path: sql(folder, "CREATE TABLE more (a)"),
    "a virtual table": lambda folder, path: sql(
        folder, "DROP TABLE study_user_attributes", "CREATE VIRTUAL TABLE study_user_attributes USING fts5(a)"
    ),
    "no database": lambda folder, path: path.write_bytes(b"no database" * 1000),
    "cut short": lambda folder, path: os.truncate(path, 9000),
    "another schema": lambda folder, path: sql(folder, "UPDATE alembic_version SET version_num = 'v9'"),
    "huge": lambda folder, path: os.truncate(path, 1 << 40),
    "a link": link,
    "a FIFO": fifo,
    "a folder": lambda folder, path: (path.unlink(), path.mkdir()),
    "a journal that is a link": lambda folder, path: link(folder, folder / "study.db-journal"),
    "a journal that names a file": journal,
    "odd values": lambda folder, path: sql(folder, "UPDATE trial_params SET distribution_json = '[]'"),
    "odd attributes": lambda folder, path: sql(folder, "UPDATE study_user_attributes SET value_json = '{'"),
    "attributes of another kind": lambda folder, path: sql(folder, "UPDATE study_user_attributes SET value_json = '3'"),
    "another direction": lambda folder, path: sql(folder, "UPDATE study_directions SET direction = 'MAXIMIZE'"),
}


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_study_is_one_sentence_and_runs_nothing(odd, tmp_path):
    draw(search_in(tmp_path), 3)
    ODD[odd](tmp_path, tmp_path / "study.db")
    with pytest.raises(UserError) as raised:
        draw(search_in(tmp_path), 1)
    assert "\n" not in str(raised.value)
    assert str(tmp_path) in str(raised.value)


def test_a_choice_that_was_not_asked_for_is_refused(tmp_path):
    space = {**SPACE, "word": CategoricalDistribution(["a", "b"])}
    search = search_in(tmp_path, space)
    search._draw()
    sql(tmp_path, """UPDATE trial_params SET distribution_json = replace(distribution_json, '"a"', '"${evil}"')""")
    sql(tmp_path, """UPDATE trial_params SET distribution_json = replace(distribution_json, '"b"', '"${evil}"')""")
    with pytest.raises(UserError, match="holds the trial 0, which was not drawn from what is searched for"):
        search_in(tmp_path, space)

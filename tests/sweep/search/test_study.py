"""A study that is damaged or untrusted is one sentence, and nothing in it runs."""

import os
import shutil

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution

from helpers.searches import draw, search_in, sql
from vaelab.errors import UserError

SPACE = {"x": FloatDistribution(-3.0, 3.0), "y": FloatDistribution(-1.0, 5.0)}


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


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study of three trials."""
    folder = tmp_path_factory.mktemp("study")
    draw(search_in(folder, SPACE), 3)
    return folder / "study.db"


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_study_is_one_sentence_and_runs_nothing(odd, study, tmp_path):
    shutil.copy(study, tmp_path)
    ODD[odd](tmp_path, tmp_path / "study.db")
    with pytest.raises(UserError) as raised:
        draw(search_in(tmp_path, SPACE), 1)
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

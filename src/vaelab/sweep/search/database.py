"""`study.db`, the database of a search in its sweep's directory: may be an untrusted one, and is checked first.

SQLite runs what stands in a database: a view or a trigger can go on for ever. From a journal that a process left as it
died it takes the name of a file to delete.
"""

import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from optuna.storages._rdb.models import BaseModel
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from vaelab.errors import UserError, one_line

LARGEST = 1 << 30  # bytes; a thousand trials take less than a million
BESIDE = ("", "-journal", "-wal", "-shm")
ADVICE = "restore it from a copy, or begin a new search in another directory"
ALEMBIC = (
    "CREATE TABLE alembic_version ( version_num VARCHAR(32) NOT NULL, "
    "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num) )"
)
NAMES_ANOTHER_FILE = bytes.fromhex("d9d505f920a163d7")  # what a journal ends with that does; Optuna's never do


def check_database(path: Path) -> None:
    """Raise UserError unless there is no file, or one that holds Optuna's own tables at most, as Optuna makes them."""
    for suffix in BESIDE:
        _check_file(path.with_name(path.name + suffix))
    if not path.exists() or not path.stat().st_size:
        return
    with database_errors(path), closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA trusted_schema = OFF")
        found = connection.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    expected = _commands()
    for kind, name, sql in found:  # a constraint, a default or an index may hold what is worked out at each write
        if " ".join(str(sql).split()) not in expected:
            raise UserError(f"{path} must hold the tables of a study only, got the {kind} {name!r}; {ADVICE}")


def _commands() -> set[str]:
    """The commands that make Optuna's tables and their indexes."""
    commands: list[Any] = [ALEMBIC]
    for table in BaseModel.metadata.tables.values():
        commands += [CreateTable(table), *map(CreateIndex, table.indexes)]
    dialect = sqlite.dialect()
    texts = (command if isinstance(command, str) else str(command.compile(dialect=dialect)) for command in commands)
    return {" ".join(text.split()) for text in texts}


@contextmanager
def database_errors(path: Path | str) -> Iterator[None]:
    """Turn what SQLite, SQLAlchemy and Optuna raise over a database, which has no class in common, into a UserError."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = one_line(f"{type(error).__name__}: {error}", 200)
        raise UserError(f"the study in {path} cannot be read or written ({reason}); {ADVICE}") from error


def _check_file(path: Path) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISREG(found.st_mode):
        raise UserError(f"{path} must be a regular file; move it away")
    if found.st_size > LARGEST:
        raise UserError(f"{path} may hold {LARGEST:,} bytes at most, got {found.st_size:,}; move it away")
    if path.name.endswith("-journal") and found.st_size:
        with path.open("rb") as file:
            file.seek(max(0, found.st_size - len(NAMES_ANOTHER_FILE)))
            if file.read() == NAMES_ANOTHER_FILE:
                raise UserError(f"{path} must be the journal of one database, got one that names another; move it away")

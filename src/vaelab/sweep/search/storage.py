"""The storage of a search: a database that the search and its trials, processes of their own, write to."""

from pathlib import Path
from typing import TYPE_CHECKING

from vaelab.errors import UserError

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

DATABASE = "study.db"
BUSY_SECONDS = 60  # how long a process waits for another that is writing to the same SQLite file


def storage_url(storage: str | None, sweep_dir: Path) -> str:
    """The database of a search: the one that was named, or `study.db` in the sweep's directory.

    Raises:
        UserError: if that directory has a `?` in its path, after which a URL names another file's settings.
    """
    path = sweep_dir.resolve() / DATABASE
    if storage is None and "?" in str(path):
        raise UserError(f"a search must lie in a directory without ? in its path, got {path.parent}; rename it")
    return storage or f"sqlite:///{path}"


def open_storage(url: str) -> "RDBStorage":
    """The database of a search, which several processes may write to."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    options = {"connect_args": {"timeout": BUSY_SECONDS}} if url.startswith("sqlite") else {}
    return optuna.storages.RDBStorage(url, engine_kwargs=options)

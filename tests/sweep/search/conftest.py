"""Fixtures: studies that are not waited for."""

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk():
    """Makes SQLite leave it to the system when a study is on the disk; no test takes the power away."""

    def leave_it(connection, record):
        connection.execute("PRAGMA synchronous = OFF")

    event.listen(Engine, "connect", leave_it)
    yield
    event.remove(Engine, "connect", leave_it)

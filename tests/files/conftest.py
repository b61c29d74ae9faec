"""A run's directory, and a folder outside that stays what it is."""

import pytest

from helpers.odd_files import SECRET


@pytest.fixture
def outside(tmp_path):
    """A folder beside the run's directory, with a file in it."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_bytes(SECRET)
    return tmp_path / "outside"


@pytest.fixture
def run_dir(tmp_path):
    (tmp_path / "run/inner").mkdir(parents=True)
    return tmp_path / "run"


@pytest.fixture(autouse=True)
def untouched(outside):
    yield
    assert [path.name for path in outside.iterdir()] == ["file"]
    assert (outside / "file").read_bytes() == SECRET

"""The notebook of the docs runs, and is kept with what it gives."""

import importlib.util
import sys
from pathlib import Path

import nbformat
import pytest

from conftest import ROOT, clean_environment

TOUR = ROOT / "docs/tour.ipynb"
PLACES = (str(Path.home()), str(ROOT), "/tmp/", sys.prefix)


@pytest.fixture
def notebooks():
    spec = importlib.util.spec_from_file_location("notebooks", ROOT / "docs/notebooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def given(notebook):
    """The kinds of what each cell gave."""
    return [[sorted(output.get("data", {"text": ""})) for output in cell.get("outputs", ())] for cell in notebook.cells]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::ResourceWarning")
def test_it_runs_and_gives_what_it_is_kept_with(notebooks, tmp_path, monkeypatch):
    for name, value in clean_environment().items():
        monkeypatch.setenv(name, value)
    ran = notebooks.executed(TOUR, tmp_path)
    assert given(ran) == given(nbformat.read(TOUR, as_version=4))
    assert sum(["image/png", "text/plain"] in cell for cell in given(ran)) == 4
    assert (tmp_path / "outputs/tour/compare.html").exists()


def test_it_names_no_place_of_the_machine_that_it_ran_on():
    text = TOUR.read_text()
    assert not [place for place in PLACES if place in text]
    assert TOUR.stat().st_size < 500_000

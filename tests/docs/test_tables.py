"""The tables that are made of `conf/`, docstrings and measured figures."""

import importlib.util

import pytest

from conftest import ROOT
from helpers.pages import PAGES

spec = importlib.util.spec_from_file_location("docs_tables", ROOT / "docs/tables.py")
tables = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tables)


@pytest.mark.parametrize("page", [page for page in PAGES if "<!-- table" in PAGES[page]])
def test_the_tables_are_current(page):
    assert tables.rewritten(PAGES[page]) == PAGES[page], "run: python docs/tables.py"


def test_every_option_of_every_group_is_in_a_table():
    parts, groups = tables.table("parts"), tables.table("groups")
    for path in (ROOT / "conf").glob("[!h]*/*.yaml"):
        assert f"`{path.stem}`" in groups
        assert path.parent.name not in tables.DESCRIBED or f"| {path.parent.name} | `{path.stem}`" in parts

"""The Python and YAML listings of the README and the docs, run as they stand."""

import re
import shutil
import sys
from pathlib import Path

import pytest
import torch

from conftest import ROOT
from helpers.pages import PAGES, README, listings
from vaelab.run.hub import NAME

TRIED = {
    README: 1,
    "docs/runs.md": 1,
    "docs/parts.md": 1,
    "docs/export.md": 1,
}  # listings of Python that a test here runs
SHORT = ("dataset=digits", "logger=local", "trainer.max_steps=2", "trainer.threads=1", "trainer.pictures_every=0")


def test_every_python_listing_has_a_test_here():
    found = {page: len(listings(page, "python")) for page in PAGES}
    assert {page: count for page, count in found.items() if count} == TRIED


def test_the_elbo_of_the_readme():
    (listing,) = listings(README, "python")
    names = {}
    exec(listing, names)
    assert names["elbo"].shape == (32,)
    assert -900 < names["elbo"].mean() < -500  # of random pixels: near -784 log 2
    assert all(parameter.grad is not None for parameter in names["vae"].parameters())


def test_the_notebook(inline, tmp_path):
    code, _, err = inline(*SHORT, "hydra.run.dir=outputs/run")
    assert code == 0, err
    (listing,) = listings("docs/runs.md", "python")
    names = {"x": torch.rand(3, 1, 8, 8)}
    exec(listing.replace("RUN_DIR", str(tmp_path / "outputs/run")), names)
    assert names["z"].shape == (3, 20)


def test_a_run_on_the_hub(monkeypatch):
    (listing,) = listings("docs/export.md", "python")
    monkeypatch.setattr("vaelab.load_run", lambda name: name)
    names = {}
    exec(listing, names)
    assert NAME.fullmatch(str(Path(names["run"])))


@pytest.mark.slow
def test_a_network_is_added_as_shown(command, tmp_path):
    copy = tmp_path / "project"
    for name in ("conf", "src"):
        shutil.copytree(ROOT / name, copy / name, symlinks=True)
    shutil.copy(ROOT / "run.py", copy)
    (code,), (config,) = listings("docs/parts.md", "python"), listings("docs/parts.md", "yaml")
    (copy / "src/vaelab/model/linear.py").write_text(code)
    (copy / "conf/model/linear.yaml").write_text(config)
    ((overrides,),) = [re.findall(r"run\.py (.*)", block) for block in listings("docs/parts.md", "bash")]
    done = command(sys.executable, copy / "run.py", *overrides.split(), *SHORT, env={"PYTHONPATH": str(copy / "src")})
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES)
def test_included_files_are_there(page):
    for name in re.findall(r'--8<-- "(.*)"', PAGES[page]):
        assert (ROOT / name).exists()

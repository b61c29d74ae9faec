"""The benchmark of images that stay on disk runs, on a few."""

import sys

import pytest

from conftest import ROOT


@pytest.mark.slow
def test_both_places_are_measured(command, tmp_path):
    options = ("--images", "300", "--steps", "2", "--rounds", "1", "--data", tmp_path / "mapped")
    done = command(sys.executable, "-m", "benchmarks.mapped", *options, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "| `trainer.images_on=host` | " in done.stdout
    assert "| `trainer.images_on=disk` | " in done.stdout
    assert "disk / host, by round: " in done.stdout

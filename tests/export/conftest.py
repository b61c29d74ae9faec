"""Runs of a few steps, to be taken elsewhere."""

import pytest

from vaelab.run.load import load_run

SHORT = ("dataset=digits", "logger=local", "trainer.max_steps=3", "trainer.pictures_every=0", "trainer.threads=1")


@pytest.fixture
def trained(inline, tmp_path):
    """Trains for three steps with these overrides and gives the run."""

    def train(*overrides):
        run_dir = tmp_path / f"outputs/run{len(list(tmp_path.glob('outputs/*')))}"
        code, _, err = inline(*SHORT, *overrides, f"hydra.run.dir={run_dir}")
        assert code == 0, err
        return load_run(run_dir)

    return train
